/**
 * 4- and 2-bit codes: a group's range is cut into equal steps. `code = round((w + shift) / scale)`, clamped, with `scale = (max - min) /
 * (2^bits - 1)` and `shift = -min`, a float; every step in the weight's own dtype.
 *
 * Groups of equal length are worked on in the kernel's memory.
 *
 * Source: optimum-quanto library/quantize.py, tensor/optimizers/max_optimizer.py, tensor/weights/tinygemm/qbits.py@0.2.7.
 */
import type { ComputeDType } from "../tensor/dtype.ts";
import { DTYPE_NUMBER, type Kernel, kernelFor } from "./kernel/kernel.ts";
import type { QType } from "./qtype.ts";
import { floatOfBits, roundTo } from "./rounding.ts";
import { smallestZero } from "./zero-sign.ts";

/** -0 among patterns that are ordered as the numbers are. */
const NEGATIVE_ZERO = -1;

/** Scale and shift of one group. */
export interface AffineParameters {
  readonly scale: number;
  readonly shift: number;
}

/** Scale and shift of a range. */
export function affineParameters(min: number, max: number, qtype: QType, dtype: ComputeDType): AffineParameters {
  return { scale: roundTo(roundTo(max - min, dtype) / (2 ** qtype.bits - 1), dtype), shift: -min };
}

/** Finds scale and shift of each group in the kernel; returns false if a weight is not finite. */
export function findRanges(kernel: Kernel, groups: number, groupLength: number, qtype: QType, dtype: ComputeDType): boolean {
  const { values, smallest, largest, scales, shifts } = kernel;
  kernel.findRanges(groups, groupLength);
  for (let group = 0; group < groups; group++) {
    const order = smallest[group] as number;
    const min = order === NEGATIVE_ZERO ? smallestZero(values, group * groupLength, groupLength, dtype) : fromOrder(order);
    const max = fromOrder(largest[group] as number);
    if (!Number.isFinite(min) || !Number.isFinite(max)) return false;
    const { scale, shift } = affineParameters(min, max, qtype, dtype);
    scales[group] = scale;
    shifts[group] = shift;
  }
  return true;
}

/** The number of a pattern that is ordered as the numbers are. */
function fromOrder(order: number): number {
  return floatOfBits(order ^ ((order >> 31) & 0x7fffffff));
}

/** Turns the weights of groups in the kernel, whose scales and shifts are known, into codes, one per byte. */
export function encodeAffine(kernel: Kernel, groups: number, groupLength: number, qtype: QType, dtype: ComputeDType): void {
  kernel.encodeUnsigned(groups, groupLength, DTYPE_NUMBER[dtype], 2 ** qtype.bits - 1);
}

/**
 * The same for weights, scales and shifts that lie elsewhere.
 *
 * Shapes: values and codes [scale.length, groupLength]; shift [groups] or several per group, each for an equal part of it.
 */
export function encodeGroups(
  { qtype, dtype }: { readonly qtype: QType; readonly dtype: ComputeDType },
  values: Float32Array,
  scale: Float32Array,
  shift: Float32Array,
  codes: Uint8Array,
): void {
  const kernel = kernelFor(values.length, shift.length);
  kernel.values.set(values);
  kernel.shifts.set(shift);
  // A part of a group that has its own shift is a group to the kernel.
  const partsPerGroup = shift.length / scale.length;
  for (let part = 0; part < shift.length; part++) kernel.scales[part] = scale[Math.floor(part / partsPerGroup)] as number;
  encodeAffine(kernel, shift.length, values.length / shift.length, qtype, dtype);
  codes.set(kernel.codes.subarray(0, values.length));
}

/** What remains of a shift that is kept as the middle of the range in bfloat16 and turned back: Quanto's 4-bit kernel stores it so. */
export function centredShift({ scale, shift }: AffineParameters): number {
  const half = roundTo(8 * scale, "bfloat16");
  return roundTo(half - roundTo(half - shift, "bfloat16"), "bfloat16");
}
