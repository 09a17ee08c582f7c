/**
 * The inner loops of quantization and the memory that they work on: a WebAssembly module, made on first use, one in a thread. What the loops
 * do and where the memory has what is told in assembly.ts, which is what the module is compiled from.
 *
 *     const kernel = kernelFor(count, groups);      // room for so many weights in so many groups
 *     kernel.values.set(weights);
 *     kernel.findLargest(groups, groupLength);      // and so on
 *
 * WebAssembly's SIMD is in every Node and browser of today, so there is no other implementation. Plain JavaScript took 1.8 to 6.9 ns a
 * weight where this takes 0.8 to 2.4 (bench/quantizing.ts).
 */
import type { ComputeDType } from "../../tensor/dtype.ts";
import { MODULE } from "./kernel-wasm.ts";

/** How the loops number the dtypes in which they calculate. */
export const DTYPE_NUMBER = { float32: 0, float16: 1, bfloat16: 2 } as const satisfies Record<ComputeDType, number>;

/** The regions of the memory, which are valid until more room is asked for. */
interface Regions {
  readonly values: Float32Array;
  /** Bytes of 16-bit numbers. */
  readonly stored: Uint8Array;
  readonly codes: Uint8Array;
  readonly smallest: Int32Array;
  readonly largest: Int32Array;
  readonly scales: Float32Array;
  readonly shifts: Float32Array;
}

interface Passes {
  widenFloat16(count: number): void;
  widenBfloat16(count: number): void;
  roundValues(count: number, dtype: number): void;
  findLargest(groups: number, groupLength: number): void;
  findRanges(groups: number, groupLength: number): void;
  encodeInt8(groups: number, groupLength: number, dtype: number): void;
  encodeUnsigned(groups: number, groupLength: number, dtype: number, most: number): void;
  encodeFloat8(
    groups: number,
    groupLength: number,
    dtype: number,
    mantissaBits: number,
    bias: number,
    most: number,
    nan: number,
    signedZero: number,
  ): void;
  pack(partLength: number, bits: number): void;
}

type Exports = Passes & { readonly [region in keyof Regions]: WebAssembly.Global<"i32"> } & {
  readonly memory: WebAssembly.Memory;
  reserve(weights: number, groups: number): number;
};

/** The loops and their memory. */
export type Kernel = Regions & Passes;

let module: Exports | undefined;
let kernel: Kernel | undefined;

/**
 * The kernel of this thread, with room for so many weights in so many groups; what an earlier caller put there is lost.
 *
 * Errors: RangeError where there is no memory.
 */
export function kernelFor(weights: number, groups: number): Kernel {
  const [hasWeights, hasGroups] = [kernel?.codes.length ?? 0, kernel?.scales.length ?? 0];
  if (kernel !== undefined && weights <= hasWeights && groups <= hasGroups) return kernel;
  module ??= instantiate();
  const [w, g] = [Math.max(weights, hasWeights), Math.max(groups, hasGroups)];
  kernel = undefined;
  if (module.reserve(w, g) === 0) throw new RangeError(`there is no memory to quantize ${w} weights at a time`);
  kernel = { ...passesOf(module), ...regionsOf(module, w, g) };
  return kernel;
}

function instantiate(): Exports {
  const bytes = Uint8Array.from(atob(MODULE), (letter) => letter.charCodeAt(0));
  return new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as unknown as Exports;
}

function regionsOf({ memory, ...exports }: Exports, weights: number, groups: number): Regions {
  const { buffer } = memory;
  return {
    values: new Float32Array(buffer, exports.values.value, weights),
    stored: new Uint8Array(buffer, exports.stored.value, 2 * weights),
    codes: new Uint8Array(buffer, exports.codes.value, weights),
    smallest: new Int32Array(buffer, exports.smallest.value, groups),
    largest: new Int32Array(buffer, exports.largest.value, groups),
    scales: new Float32Array(buffer, exports.scales.value, groups),
    shifts: new Float32Array(buffer, exports.shifts.value, groups),
  };
}

function passesOf(exports: Exports): Passes {
  const { widenFloat16, widenBfloat16, roundValues, findLargest, findRanges, encodeInt8, encodeUnsigned, encodeFloat8, pack } = exports;
  return { widenFloat16, widenBfloat16, roundValues, findLargest, findRanges, encodeInt8, encodeUnsigned, encodeFloat8, pack };
}
