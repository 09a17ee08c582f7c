/**
 * The ways to decode a picture, and what each takes: known from the VAE's config and the size alone, before anything is opened.
 *
 * All give the same picture. Whole is the fastest and takes several maps of full size at once; strips take a few rows at a time, and the maps
 * between layers in memory or in temporary files. bench/vae-strips.ts holds these predictions against what is measured.
 */
import { type AutoencoderKLConfig, vaeScaleFactor } from "../models/autoencoder-kl/config.ts";
import { sweepFloats } from "../models/autoencoder-kl/strip-memory.ts";
import { planStrips } from "../models/autoencoder-kl/strip-plan.ts";

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

const CANDIDATES: readonly DecodeWay[] = [
  { kind: "whole" },
  { kind: "strips", rows: 32, maps: "memory" },
  { kind: "strips", rows: 16, maps: "memory" },
  { kind: "strips", rows: 32, maps: "file" },
  { kind: "strips", rows: 16, maps: "file" },
  { kind: "strips", rows: 8, maps: "file" },
];
/** Maps of the widest full-size features that the engine's memory has room for when it decodes whole: measured, its slack included, at 512 x 512.
 * It grows by doubling, so that sizes in between take more: 6.7 at 768 x 768. */
const WHOLE_MAPS = 5.3;
/**
 * How much of what strips take in the engine at once the process holds in the end: measured, 4.6 to 5.9, and 7.4 at 1024 x 1024 with maps in files.
 * The C library keeps what is given back to it in pieces (glibc up to 32 MB each), and how much is chance.
 */
const KEPT_SCRATCH = 5;
/** Sessions, statistics and what the allocators round up: measured. */
const OVERHEAD_BYTES = 24e6;
const FLOAT_BYTES = 4;

/** The ways to decode a picture of this size in pixels, the fastest first. */
export function decodeWays(config: AutoencoderKLConfig, height: number, width: number): DecodeCost[] {
  return CANDIDATES.map((way) => decodeCost(config, way, height, width));
}

/** What one way takes for a picture of this size in pixels. */
export function decodeCost(config: AutoencoderKLConfig, way: DecodeWay, height: number, width: number): DecodeCost {
  const sampleBytes = FLOAT_BYTES * config.out_channels * height * width;
  if (way.kind === "whole") {
    const [narrow = 1, wide = narrow] = config.block_out_channels;
    const widestBytes = FLOAT_BYTES * Math.max(narrow, wide) * height * width;
    return { way, anonymousBytes: WHOLE_MAPS * widestBytes + sampleBytes + OVERHEAD_BYTES, fileBytes: 0 };
  }
  const factor = vaeScaleFactor(config);
  const sweeps = sweepFloats(planStrips(config, { height: height / factor, width: width / factor }, way.rows));
  const most = (of: (sweep: (typeof sweeps)[number]) => number) => FLOAT_BYTES * Math.max(...sweeps.map(of));
  // Rows have one buffer for all sweeps, of which the pages that the largest has touched stay.
  const rowsBytes = most(({ rows }) => rows) + KEPT_SCRATCH * most(({ scratch }) => scratch);
  const heldBytes = most(({ maps, tables }) => tables + (way.maps === "memory" ? maps : 0));
  return {
    way,
    anonymousBytes: rowsBytes + heldBytes + sampleBytes + OVERHEAD_BYTES,
    fileBytes: way.maps === "file" ? most(({ maps }) => maps) : 0,
  };
}
