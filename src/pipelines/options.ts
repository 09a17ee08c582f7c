/**
 * What a caller may ask of a pipeline. Names are diffusers' in camelCase; defaults are those of the pipeline's class in diffusers.
 */
import type { LocateOptions } from "../hub/locate-node.ts";
import type { ComputeDType } from "../tensor/dtype.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import type { PipelineEvent } from "./events.ts";

/** How a pipeline or one of its parts is opened. */
export interface LoadOptions extends LocateOptions {
  /** What weights and noise are rounded to; a CPU calculates in float32 whatever this says. Default "float32". */
  dtype?: ComputeDType | undefined;
  /** Threads of the engine. */
  threads?: number | undefined;
  /** Told of downloads and warnings while opening. */
  onEvent?: ((event: PipelineEvent) => void) | undefined;
}

/** One request for pictures. */
export interface GenerateOptions {
  /** What the pictures should not show. Default "". */
  negativePrompt?: string | undefined;
  /** Integer from -2^63 to 2^64 - 1; default: drawn at random and reported. */
  seed?: number | bigint | undefined;
  numInferenceSteps?: number | undefined;
  /** 1 or less turns guidance off. */
  guidanceScale?: number | undefined;
  /** Pixels; a multiple of the VAE's factor times the patch size. Default: the size the model was trained for. */
  height?: number | undefined;
  width?: number | undefined;
  numImagesPerPrompt?: number | undefined;
  /** Generates at the nearest size that the model was trained for and resizes the picture. Default false (diffusers: true). */
  useResolutionBinning?: boolean | undefined;
  /** Tokens of the prompt that the model sees. */
  maxSequenceLength?: number | undefined;
  /** Starts from these instead of drawn noise [images, channels, latentHeight, latentWidth], unscaled. */
  latents?: FloatTensor | undefined;
  signal?: AbortSignal | undefined;
}
