/**
 * 4- and 2-bit codes: a group's range is cut into equal steps. `code = round((w + shift) / scale)`, clamped, with `scale = (max - min) /
 * (2^bits - 1)` and `shift = -min`, a float; every step in the weight's own dtype.
 *
 * Source: optimum-quanto library/quantize.py, tensor/optimizers/max_optimizer.py, tensor/weights/tinygemm/qbits.py@0.2.7.
 */
import type { ComputeDType } from "../tensor/dtype.ts";
import type { QType } from "./qtype.ts";
import { floatOfBits, ROUNDING_ERROR, roundTo, TO_INTEGER } from "./rounding.ts";
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

/**
 * Finds scale and shift of groups of equal length. Returns the place of a number that is not finite, or -1.
 *
 * Shapes: values [scale.length, groupLength].
 */
export function findRanges(values: Float32Array, scale: Float32Array, shift: Float32Array, qtype: QType, dtype: ComputeDType): number {
  const groupLength = values.length / scale.length;
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  for (let group = 0; group < scale.length; group++) {
    const start = group * groupLength;
    // Patterns as integers that are ordered as the numbers are, -0 before 0.
    let smallest = 0x7fffffff;
    let largest = -0x80000000;
    for (let i = start; i < start + groupLength; i++) {
      const pattern = bits[i] as number;
      const order = pattern ^ ((pattern >> 31) & 0x7fffffff);
      if (order < smallest) smallest = order;
      if (order > largest) largest = order;
    }
    const min = smallest === NEGATIVE_ZERO ? smallestZero(values, start, groupLength, dtype) : fromOrder(smallest);
    const max = fromOrder(largest);
    if (!Number.isFinite(min) || !Number.isFinite(max)) return values.findIndex((value) => !Number.isFinite(value));
    const found = affineParameters(min, max, qtype, dtype);
    scale[group] = found.scale;
    shift[group] = found.shift;
  }
  return -1;
}

function fromOrder(order: number): number {
  return floatOfBits(order ^ ((order >> 31) & 0x7fffffff));
}

/**
 * Turns the weights at [start, start + count), which share scale and shift, into codes, one per byte.
 *
 * Sum and quotient are rounded to the dtype, then the quotient to an integer. The former can only matter for a quotient near the middle of
 * two integers, so they are left out elsewhere. NaN (0 / 0) becomes 0, as torch's conversion makes it on x86.
 */
export function encodeAffine(
  values: Float32Array,
  start: number,
  count: number,
  { scale, shift }: AffineParameters,
  qtype: QType,
  dtype: ComputeDType,
  codes: Uint8Array,
): void {
  const error = 2.01 * ROUNDING_ERROR[dtype];
  const largest = 2 ** qtype.bits - 1;
  // As exact as a division: see quantize-symmetric.ts.
  const inverse = 1 / scale;
  for (let i = start; i < start + count; i++) {
    const sum = (values[i] as number) + shift;
    const quotient = sum * inverse;
    let code = quotient + TO_INTEGER - TO_INTEGER;
    if (!(Math.abs(quotient - code) < 0.5 - Math.abs(quotient) * error)) {
      code = roundTo(roundTo(sum, dtype) * inverse, dtype) + TO_INTEGER - TO_INTEGER;
    }
    if (code > largest) code = largest;
    else if (!(code > 0)) code = 0;
    codes[i] = code;
  }
}

/**
 * Turns groups of equal length into codes, one per byte.
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
  const partLength = values.length / shift.length;
  const partsPerGroup = shift.length / scale.length;
  for (let part = 0; part < shift.length; part++) {
    const parameters = { scale: scale[Math.floor(part / partsPerGroup)] as number, shift: shift[part] as number };
    encodeAffine(values, part * partLength, partLength, parameters, qtype, dtype, codes);
  }
}

/** What remains of a shift that is kept as the middle of the range in bfloat16 and turned back: Quanto's 4-bit kernel stores it so. */
export function centredShift({ scale, shift }: AffineParameters): number {
  const half = roundTo(8 * scale, "bfloat16");
  return roundTo(half - roundTo(half - shift, "bfloat16"), "bfloat16");
}
