/**
 * What a running pipeline tells its caller. Generation is an async generator of these events; the caller owns progress, preview and cancelling.
 */
import type { HubEvent } from "../hub/hub-node.ts";
import type { GeneratedImage } from "../image/image.ts";
import type { FloatTensor } from "../tensor/tensor.ts";

/** The phases of a run, in order. */
export type Phase = "encode" | "denoise" | "decode";

/** Bytes of a file arriving from the Hub. */
export type DownloadEvent = Extract<HubEvent, { type: "download" }>;

/** Something the caller should know that does not stop the run, in one sentence. */
export type WarningEvent = Extract<HubEvent, { type: "warning" }>;

/** A part was opened: its weights are mapped, not read. */
export interface LoadEvent {
  readonly type: "load";
  /** Component name ("text_encoder"). */
  readonly part: string;
  readonly className: string;
  /** Bytes of its weights as stored. */
  readonly weightBytes: number;
}

/** A marked part is being frozen (frozenBytes undefined), or has been. */
export interface FreezeEvent {
  readonly type: "freeze";
  readonly part: string;
  /** Bytes of its weights before. */
  readonly storedBytes: number;
  /** Bytes of its weights now. */
  readonly frozenBytes: number | undefined;
}

/** The text encoder, the transformer or the VAE reached another segment; `done` of `total` are finished. */
export interface SegmentEvent {
  readonly type: "segment";
  readonly phase: Phase;
  readonly part: string;
  readonly done: number;
  readonly total: number;
}

/** A denoising step has ended. */
export interface StepEvent {
  readonly type: "step";
  /** 1..steps */
  readonly step: number;
  readonly steps: number;
  /** Timestep of the training schedule (1000..0) that was just denoised. */
  readonly timestep: number;
  readonly seconds: number;
  /** The latents after the step [images, channels, latentHeight, latentWidth], for a preview; do not change them. */
  readonly latents: FloatTensor;
}

/** A phase has ended. */
export interface PhaseEvent {
  readonly type: "phase";
  readonly report: PhaseReport;
}

/** A finished picture. */
export interface ImageEvent {
  readonly type: "image";
  readonly index: number;
  readonly image: GeneratedImage;
}

/** The last event of a run. */
export interface SummaryEvent {
  readonly type: "summary";
  readonly report: RunReport;
}

/** Any event of a run. */
export type PipelineEvent =
  | WarningEvent
  | DownloadEvent
  | LoadEvent
  | FreezeEvent
  | SegmentEvent
  | StepEvent
  | PhaseEvent
  | ImageEvent
  | SummaryEvent;

/** Time and memory of one phase. */
export interface PhaseReport {
  readonly phase: Phase;
  readonly seconds: number;
  /** Highest resident memory of the process during the phase, mapped files included; undefined where the system does not tell. */
  readonly peakResidentBytes: number | undefined;
  /** Highest anonymous memory, which no file backs; undefined where the system does not tell. */
  readonly peakAnonymousBytes?: number | undefined;
  /** What the plan expected of it. */
  readonly predictedPeakBytes?: number | undefined;
}

/** Time and memory of a whole run. */
export interface RunReport {
  readonly seed: number | bigint;
  readonly seconds: number;
  readonly phases: readonly PhaseReport[];
  readonly peakResidentBytes: number | undefined;
  readonly peakAnonymousBytes?: number | undefined;
  readonly predictedPeakBytes?: number | undefined;
  /** Latents after the last step, before un-scaling for the VAE [images, channels, latentHeight, latentWidth]. */
  readonly latents: FloatTensor;
  readonly warnings: readonly string[];
}
