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
  /** Tokens of the prompt that the model sees. */
  maxSequenceLength?: number | undefined;
  /** Starts from these instead of drawn noise [images, channels, latentHeight, latentWidth], unscaled. */
  latents?: FloatTensor | undefined;
  /**
   * Multiplies weights stored as qint8 in 8-bit integers, for which inputs are rounded too: faster, and not quite the faithful picture
   * (docs/quantization.md has figures). Layers of other qtypes are calculated as ever, which a warning says. Default false.
   */
  fast?: boolean | undefined;
  signal?: AbortSignal | undefined;

  // What some classes of pipelines take and others refuse.

  /** Generates at the nearest size that the model was trained for and resizes the picture. Default false (diffusers: true). */
  useResolutionBinning?: boolean | undefined;
  /** What the second and third text encoder read instead of the prompt. */
  prompt2?: string | undefined;
  prompt3?: string | undefined;
  /** What they read instead of the negative prompt. */
  negativePrompt2?: string | undefined;
  negativePrompt3?: string | undefined;
  /** Layers of the CLIP encoders that are left out beyond the last one. Default 0. */
  clipSkip?: number | undefined;
  /** Blocks of the transformer: guides away from what it predicts without them. */
  skipGuidanceLayers?: readonly number[] | undefined;
  /** How strongly. Default 2.8. */
  skipLayerGuidanceScale?: number | undefined;
  /** Shares of the steps between which it works. Default 0.01 and 0.2. */
  skipLayerGuidanceStart?: number | undefined;
  skipLayerGuidanceStop?: number | undefined;
}
