/**
 * What differs from one pipeline class to the next; run.ts is what they share. A new pipeline implements this and takes a line in registry.ts.
 */
import type { FloatTensor } from "../tensor/tensor.ts";
import type { PipelineEvent } from "./events.ts";
import type { PipelineParts } from "./parts.ts";
import type { Request, RequestDefaults } from "./request.ts";

/** A picture's size while it is made; may differ from the request's when sizes are binned. */
export interface WorkSize {
  /** Pixels. */
  readonly height: number;
  readonly width: number;
  /** Latent pixels. */
  readonly latentHeight: number;
  readonly latentWidth: number;
}

/** Predicts noise for a request. */
export interface Denoiser {
  /**
   * One prediction, guidance applied.
   *
   * Shapes: latents [images, channels, latentHeight, latentWidth] -> the same.
   */
  predict(latents: FloatTensor, timestep: number): AsyncGenerator<PipelineEvent, Float32Array>;
  dispose(): Promise<void>;
}

/** A class of pipelines, by diffusers' name. */
export interface PipelineClass<Conditioning = unknown> {
  readonly className: string;
  /** Components with weights, in the order of their use. */
  readonly models: readonly string[];
  readonly tokenizers: readonly string[];
  /** Defaults and limits of a request, from the parts' configs. */
  defaults(parts: PipelineParts): RequestDefaults;
  workSize(parts: PipelineParts, request: Request): WorkSize;
  /** A lower bound of the transformer's activations in bytes, to refuse what no memory can hold. */
  minimumActivationBytes(parts: PipelineParts, request: Request, size: WorkSize): number;
  /** Classes of the components with weights, by their names: what may stand in a slot. */
  readonly modelClasses: Readonly<Record<string, string>>;
  /** What is added to the latents after they have been divided by the VAE's scaling_factor. */
  latentShift(parts: PipelineParts): number;
  /** Channels of the latents. */
  latentChannels(parts: PipelineParts): number;
  /** Refuses parts that do not fit each other (UsageError) before anything is read. */
  checkParts(parts: PipelineParts): void;
  /** Phase one: from the prompt to what the transformer is conditioned on. */
  encode(parts: PipelineParts, request: Request): AsyncGenerator<PipelineEvent, Conditioning>;
  /** Phase two: a denoiser for this request. */
  denoiser(parts: PipelineParts, request: Request, size: WorkSize, conditioning: Conditioning): Denoiser;
}
