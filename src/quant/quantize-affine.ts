/**
 * 4- and 2-bit codes: a group's range is cut into equal steps. `code = round((w + shift) / scale)`, clamped, with `scale = (max - min) /
 * (2^bits - 1)` and `shift = -min`, a float; every step in the weight's own dtype.
 *
 * Source: optimum-quanto library/quantize.py, tensor/optimizers/max_optimizer.py, tensor/weights/tinygemm/qbits.py@0.2.7.
 */
import type { ComputeDType } from "../tensor/dtype.ts";
import { add, divide, eachGroup, encodeUnsigned, inOrder, load, PIECE, round, storeCodes, widenRange } from "./passes.ts";
import type { QType } from "./qtype.ts";
import { floatOfBits, roundTo } from "./rounding.ts";
import { smallestZero } from "./zero-sign.ts";

/** -0 among patterns that are ordered as the numbers are. */
const NEGATIVE_ZERO = -1;
/** Before and behind all of these patterns. */
const FIRST = -0x80000000;
const LAST = 0x7fffffff;

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
  const range = { smallest: LAST, largest: FIRST };
  let wrong = false;
  for (let first = 0; first < values.length; first += PIECE) {
    eachGroup(first, load(values, first), groupLength, (group, start, end) => {
      widenRange(start, end, range);
      if (first + end < (group + 1) * groupLength) return;
      const min =
        range.smallest === NEGATIVE_ZERO ? smallestZero(values, group * groupLength, groupLength, dtype) : fromOrder(range.smallest);
      const max = fromOrder(range.largest);
      if (!Number.isFinite(min) || !Number.isFinite(max)) wrong = true;
      const found = affineParameters(min, max, qtype, dtype);
      scale[group] = found.scale;
      shift[group] = found.shift;
      range.smallest = LAST;
      range.largest = FIRST;
    });
  }
  return wrong ? values.findIndex((value) => !Number.isFinite(value)) : -1;
}

function fromOrder(order: number): number {
  return floatOfBits(inOrder(order));
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
  for (let first = 0; first < values.length; first += PIECE) {
    const count = load(values, first);
    eachGroup(first, count, values.length / shift.length, (part, start, end) => add(start, end, shift[part] as number));
    round(count, dtype);
    eachGroup(first, count, values.length / scale.length, (group, start, end) => divide(start, end, scale[group] as number));
    round(count, dtype);
    encodeUnsigned(count, qtype.bits);
    storeCodes(codes, first, count);
  }
}

/** What remains of a shift that is kept as the middle of the range in bfloat16 and turned back: Quanto's 4-bit kernel stores it so. */
export function centredShift({ scale, shift }: AffineParameters): number {
  const half = roundTo(8 * scale, "bfloat16");
  return roundTo(half - roundTo(half - shift, "bfloat16"), "bfloat16");
}
