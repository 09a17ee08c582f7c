/**
 * The recipe of a picture: what has to be said to make it again. It travels inside the PNG.
 */
import type { ComputeDType } from "../tensor/dtype.ts";

/** Everything that a picture depends on. */
export interface Recipe {
  readonly prompt: string;
  readonly negativePrompt: string;
  /** Decimal text, since a seed may exceed what a JSON number holds. */
  readonly seed: string;
  readonly steps: number;
  readonly guidanceScale: number;
  readonly height: number;
  readonly width: number;
  /** Pictures of the request, and which of them this is (0 is the first). */
  readonly images: number;
  readonly imageIndex: number;
  /** Model as it was asked for: a Hub id or the name of a folder (never its path); "demo" is the embedded one. */
  readonly model: string;
  /** Commit of a Hub id. */
  readonly revision?: string | undefined;
  /** SHA-256 over the headers of the weights and the configs: tells two checkpoints apart. */
  readonly modelHash: string;
  readonly pipeline: string;
  readonly scheduler: string;
  readonly dtype: ComputeDType;
  /** qtype by part, for quantized parts. */
  readonly qtypes: Readonly<Record<string, string>>;
  readonly useResolutionBinning: boolean;
  /** Version of halftone. */
  readonly version: string;
}
