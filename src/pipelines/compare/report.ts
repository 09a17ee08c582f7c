/** What a comparison finds: plain data, which is also the report's JSON. Errors are shares: 0.01 is 1 %. */
import type { ComputeDType } from "../../tensor/dtype.ts";

/** How near pictures are to the reference's. */
export interface Similarity {
  /** dB, null for equal pictures. */
  readonly psnr: number | null;
  /** 1 for equal pictures. */
  readonly ssim: number;
}

/** What the pictures of one setting say of it. */
export interface Measured {
  /** Of all weights as they are used, and by part. */
  readonly weightBytes: number;
  readonly partBytes: Readonly<Record<string, number>>;
  /** The median; not a benchmark. */
  readonly secondsPerStep: number;
  /** Over all pictures together: PSNR of the mean squared error of all pixels, mean of the SSIMs. */
  readonly similarity: Similarity;
  /** Of each prompt's picture. */
  readonly pictures: readonly Similarity[];
  /** Relative RMS error of the latents after each step, over all prompts together. */
  readonly latentErrors: readonly number[];
  /** Relative RMS error of the transformer's prediction for the same latents, as the scheduler is given it; null where it was not measured. */
  readonly predictionError: number | null;
}

/** A layer that was quantized alone. */
export interface LayerSensitivity {
  readonly part: string;
  readonly name: string;
  readonly qtype: string;
  /** Relative RMS error: of what, the measure says. */
  readonly error: number;
  /** Bytes that quantizing the layer saves. */
  readonly savedBytes: number;
}

/** Where layers were measured. */
export interface MeasuredCall {
  readonly prompt: string;
  /** Counted from 1. */
  readonly step: number;
  readonly timestep: number;
}

/** What each layer does by itself. */
export interface Sensitivity {
  /**
   * "prediction": error of the transformer's prediction, whatever part the layer belongs to. "block": error of the output of the layer's own
   * block, relative to what the block adds; for models that run block by block.
   */
  readonly measure: "prediction" | "block";
  readonly calls: readonly MeasuredCall[];
  /** The most sensitive first. */
  readonly layers: readonly LayerSensitivity[];
}

/** What the user wants to reach: one of the two. */
export interface QualityTarget {
  /** dB, at least. */
  readonly psnr?: number | undefined;
  /** Relative error of a prediction, at most. */
  readonly error?: number | undefined;
}

/** Layers to keep in float for a target, found by prediction and checked by a run. */
export interface Proposal {
  readonly target: QualityTarget;
  /** Whether the run reached it with something left to quantize. */
  readonly isReached: boolean;
  /** Names of the layers that were added to what the caller excludes. */
  readonly layers: readonly string[];
  /** All patterns as flags, ready to paste; empty where nothing would be left to quantize. */
  readonly flags: string;
  /** Bytes that the proposal takes more than the setting without it. */
  readonly costBytes: number;
  /** Relative error of a prediction, as foreseen; the run's own is in `measured`. */
  readonly predictedError: number;
  /** The run with these layers in float. */
  readonly measured: Measured;
}

/** One setting against the reference. */
export interface Variant {
  /** What it is called: the spec, with "--fast" behind it in fast runs. */
  readonly label: string;
  /** What --qtype says. */
  readonly spec: string;
  /** Whether its qint8 weights were multiplied in integers; then neither layers were measured alone nor a proposal made. */
  readonly fast: boolean;
  readonly include: readonly string[];
  readonly exclude: readonly string[];
  readonly measured: Measured;
  readonly sensitivity: Sensitivity | null;
  readonly proposal: Proposal | null;
}

/** Everything that a comparison finds. */
export interface CompareReport {
  readonly version: string;
  readonly model: string;
  readonly modelHash: string;
  readonly pipeline: string;
  readonly scheduler: string;
  /** The reference's dtype. */
  readonly dtype: ComputeDType;
  readonly steps: number;
  readonly guidanceScale: number;
  readonly height: number;
  readonly width: number;
  /** Seeds as decimal texts, since one may exceed what a JSON number holds. */
  readonly prompts: readonly { readonly prompt: string; readonly seed: string }[];
  readonly reference: Pick<Measured, "weightBytes" | "partBytes" | "secondsPerStep">;
  readonly variants: readonly Variant[];
  readonly warnings: readonly string[];
}

/** A setting is being worked on: `done` of `total` pictures, layers or tries are finished. */
export interface CompareEvent {
  readonly type: "compare";
  /** The reference's dtype, or the label of the setting. */
  readonly setting: string;
  readonly work: "pictures" | "layers" | "proposal";
  readonly done: number;
  readonly total: number;
}
