/**
 * The ways to decode a picture, and what each takes: known from the VAE's config, its headers and the size, before any weight is read.
 *
 * All give the same picture. Whole is the fastest and takes several maps of full size at once; strips take a few rows at a time, and the maps
 * between layers in memory or in temporary files. bench/vae-strips.ts holds these predictions against what is measured.
 */
import type { Weights } from "../checkpoint/weights.ts";
import { type AutoencoderKLConfig, vaeScaleFactor } from "../models/autoencoder-kl/config.ts";
import { autoencoderKLDecoder } from "../models/autoencoder-kl/model.ts";
import { buildStrip, cutStrips, type Strip, type StripPlan, type Sweep } from "../models/autoencoder-kl/strip.ts";
import { type SweepFloats, sweepFloats } from "../models/autoencoder-kl/strip-memory.ts";
import { planStrips } from "../models/autoencoder-kl/strip-plan.ts";
import { predictGraphMemory } from "../runtime/graph-memory.ts";
import { planHold } from "../runtime/hold-plan.ts";
import type { ComputeDType } from "../tensor/dtype.ts";

/** Strips of rows. */
export interface StripsWay {
  readonly kind: "strips";
  /** Rows of a strip of the picture, even and at least 2: more take more memory and a little less time. */
  readonly rows: number;
  /** Where maps are kept between layers. */
  readonly maps: "memory" | "file";
}

/** How a picture is decoded. */
export type DecodeWay = { readonly kind: "whole" } | StripsWay;

/** A way and what it takes. */
export interface DecodeCost {
  readonly way: DecodeWay;
  /** Anonymous memory at its peak, beyond what the process holds before it begins. */
  readonly anonymousBytes: number;
  /** Room on disk for temporary files, at its peak. */
  readonly fileBytes: number;
}

/** All of them, the fastest first. */
export const DECODE_WAYS: readonly DecodeWay[] = [
  { kind: "whole" },
  { kind: "strips", rows: 32, maps: "memory" },
  { kind: "strips", rows: 16, maps: "memory" },
  { kind: "strips", rows: 32, maps: "file" },
  { kind: "strips", rows: 16, maps: "file" },
  { kind: "strips", rows: 8, maps: "file" },
];
/** Sessions, statistics, and what the C library keeps of memory that was given back: measured, more the more there is. */
const LEAST_OVERHEAD_BYTES = 50e6;
const OVERHEAD_SHARE = 0.13;
const FLOAT_BYTES = 4;

/** What is asked about a decoder; its weights' names and dtypes count, nothing is read. */
export interface DecoderAsked {
  readonly config: AutoencoderKLConfig;
  readonly weights: Weights;
  readonly dtype: ComputeDType;
}

/** What a way takes for a picture of this size in pixels; some milliseconds. */
export function decodeCost({ config, weights, dtype }: DecoderAsked, way: DecodeWay, height: number, width: number): DecodeCost {
  const factor = vaeScaleFactor(config);
  const latents = { height: height / factor, width: width / factor };
  if (way.kind === "whole") {
    const model = autoencoderKLDecoder(weights, config, dtype, { batch: 1, ...latents });
    return { way, anonymousBytes: planHold(model).peakBytes, fileBytes: 0 };
  }
  const plan = planStrips(config, latents, way.rows);
  const floats = sweepFloats(plan);
  const inFiles = way.maps === "file";
  const heldBytes = plan.sweeps.map((sweep, i) => {
    const { maps, tables } = floats[i] as SweepFloats;
    return FLOAT_BYTES * (tables + (inFiles ? 0 : maps)) + engineBytes(plan, sweep, weights, dtype);
  });
  const sampleBytes = FLOAT_BYTES * config.out_channels * height * width;
  // Rows have one buffer for all sweeps, of which the pages that the largest has touched stay.
  const rowsBytes = FLOAT_BYTES * Math.max(...floats.map(({ rows }) => rows));
  const bytes = rowsBytes + Math.max(...heldBytes) + sampleBytes;
  return {
    way,
    anonymousBytes: bytes + Math.max(LEAST_OVERHEAD_BYTES, OVERHEAD_SHARE * bytes),
    fileBytes: inFiles ? FLOAT_BYTES * Math.max(...floats.map(({ maps }) => maps)) : 0,
  };
}

/** The engine's memory for the widest strip of a sweep; results are written to rows that are there already. */
function engineBytes(plan: StripPlan, sweep: Sweep, weights: Weights, dtype: ComputeDType): number {
  const rowsOf = ({ first, end }: Strip) => end - first;
  const [widest] = cutStrips(sweep).toSorted((a, b) => rowsOf(b) - rowsOf(a)) as [Strip];
  return predictGraphMemory(buildStrip(plan, sweep, widest, weights, dtype), { hasPlacesForResults: true }).arenaBytes;
}
