/**
 * What differs from one pipeline class to the next; run.ts is what they share. A new pipeline implements this and takes a line in registry.ts.
 *
 * Parts are declared by the names of model_index.json, which are their slots everywhere: in specs, recipes, folders, errors.
 */
import type { ModelGraph } from "../graph/segment.ts";
import type { StartOptions } from "../schedulers/scheduler.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import type { ClassOption } from "./class-options.ts";
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
   * One prediction, guidance applied; `index` counts the steps from 0.
   *
   * Shapes: latents [images, channels, latentHeight, latentWidth] -> the same.
   */
  predict(latents: FloatTensor, timestep: number, index: number): AsyncGenerator<PipelineEvent, Float32Array>;
  dispose(): Promise<void>;
}

/** What may stand in the place of a part with weights. */
export interface ModelSlot {
  readonly className: string;
  /** Whether the pipeline runs without it; then model_index.json may say null, and so may the caller. Default false. */
  readonly isOptional?: boolean;
}

/** How guidance calls the transformer: prompt and negative prompt in one batch, or one after the other, in half the memory. */
export type GuidanceWay = "batched" | "sequential";

/** What the phases run, in order. */
export interface Workload {
  readonly encode: readonly (readonly [part: string, model: ModelGraph])[];
  readonly denoise: readonly (readonly [part: string, model: ModelGraph])[];
}

/** A class of pipelines, by diffusers' name. */
export interface PipelineClass<Conditioning = unknown> {
  readonly className: string;
  /** Parts with weights, in the order of their use. */
  readonly models: Readonly<Record<string, ModelSlot>>;
  /** Tokenizers, and the part that each works for: with an optional part that is not there, its tokenizer is not there either. */
  readonly tokenizers: Readonly<Record<string, string>>;
  /** Classes of schedulers it works with; their first noise level is what the drawn noise is multiplied by. */
  readonly schedulers: readonly string[];
  /** Options of a request that not every class has, as far as this one has them; the others are refused. */
  readonly options: readonly ClassOption[];
  /** Defaults and limits of a request, from the parts' configs. */
  defaults(parts: PipelineParts): RequestDefaults;
  workSize(parts: PipelineParts, request: Request): WorkSize;
  /** A lower bound of the transformer's activations in bytes, to refuse what no memory can hold. */
  minimumActivationBytes(parts: PipelineParts, request: Request, size: WorkSize): number;
  /** What is added to the latents after they have been divided by the VAE's scaling_factor. */
  latentShift(parts: PipelineParts): number;
  /** Channels of the latents. */
  latentChannels(parts: PipelineParts): number;
  /** Refuses parts that do not fit each other (UsageError) before anything is read. */
  checkParts(parts: PipelineParts): void;
  /** Refuses what these parts cannot do of a request (UsageError). */
  checkRequest?(parts: PipelineParts, request: Request): void;
  /** What the user should know before the work, in sentences; a pipeline says each of them once. */
  warnings?(parts: PipelineParts, request: Request): readonly string[];
  /**
   * Tokens that each text of the request fills, the negative prompt first, where the result does not depend on padding: no more are encoded, and
   * as many as the longest has are attended to. Without it, texts are padded to maxSequenceLength.
   */
  textLengths?(parts: PipelineParts, request: Request): readonly number[];
  /** What the scheduler is told beside the number of steps, such as a shift that depends on the size. */
  startOptions?(parts: PipelineParts, request: Request, size: WorkSize): StartOptions;
  /** Whether its denoiser can call the transformer for prompt and negative prompt one after the other (`parts.guidance`). Default false. */
  readonly canSplitGuidance?: boolean;
  /** The calls of the first two phases as graphs at the request's size, by the parts' names; without it, these phases are not planned. */
  workload?(parts: PipelineParts, request: Request, size: WorkSize, guidance: GuidanceWay): Workload;
  /** Phase one: from the prompt to what the transformer is conditioned on. */
  encode(parts: PipelineParts, request: Request): AsyncGenerator<PipelineEvent, Conditioning>;
  /** Phase two: a denoiser for this request. */
  denoiser(parts: PipelineParts, request: Request, size: WorkSize, conditioning: Conditioning): Denoiser;
}
