/**
 * The inner loops of quantization: one pass each over a fixed piece of memory, into which weights are copied 16,384 at a time.
 *
 * Fixed, since a loop over arrays that V8 knows by address and length takes half the time (rounding: 0.56 against 0.98 ns per weight, Node
 * 20); plain passes, since a fused loop with a branch for the rare case takes longer than three without.
 */
import type { ComputeDType } from "../tensor/dtype.ts";
import { roundTo } from "./rounding.ts";

/** Weights that the piece of memory holds: 64 KiB, which stay in a core's own cache. */
export const PIECE = 16 * 1024;

const work = new Float32Array(PIECE);
const bits = new Int32Array(work.buffer);
const codes = new Uint8Array(PIECE);
/** Writing to it rounds to the nearest, ties to even, clamps to [0, 255], and makes NaN 0: JavaScript defines it so. */
const clamped = new Uint8ClampedArray(codes.buffer);
const fours = new Uint32Array(codes.buffer);

/** float16's smallest normal number and the first that overflows, as float32 patterns. */
const FLOAT16_NORMAL = 0x38800000;
const FLOAT16_OVERFLOW = 0x477ff000;

/** Copies weights in, those from `first` on; returns how many. */
export function load(values: Float32Array, first: number): number {
  const count = Math.min(PIECE, values.length - first);
  work.set(count === values.length ? values : values.subarray(first, first + count));
  return count;
}

/** Copies codes out to `into`, from `at` on. */
export function storeCodes(into: Uint8Array, at: number, count: number): void {
  into.set(codes.subarray(0, count), at);
}

/** Visits the groups that a piece touches; a group may lie in several pieces. `first` is the piece's place among all weights. */
export function eachGroup(
  first: number,
  count: number,
  groupLength: number,
  visit: (group: number, start: number, end: number) => void,
): void {
  for (let start = 0; start < count; ) {
    const group = Math.floor((first + start) / groupLength);
    const end = Math.min(count, (group + 1) * groupLength - first);
    visit(group, start, end);
    start = end;
  }
}

/** The pattern of the largest magnitude; one of infinity or NaN if there is any. */
export function largestMagnitude(start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) {
    const magnitude = (bits[i] as number) & 0x7fffffff;
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

/** Takes the smallest and the largest number into `range`, as patterns in order (see inOrder): -0 comes before 0. */
export function widenRange(start: number, end: number, range: { smallest: number; largest: number }): void {
  let { smallest, largest } = range;
  for (let i = start; i < end; i++) {
    const order = inOrder(bits[i] as number);
    if (order < smallest) smallest = order;
    if (order > largest) largest = order;
  }
  range.smallest = smallest;
  range.largest = largest;
}

/** A float's pattern as an integer that is ordered as the numbers are, and back. */
export function inOrder(pattern: number): number {
  return pattern ^ ((pattern >> 31) & 0x7fffffff);
}

/**
 * Divides by a scale and rounds to float32, by way of the scale's reciprocal in float64. Of two float32 numbers that gives the same float32:
 * a quotient of 24-bit significands is never nearer than 2^-49 to the middle of two neighbours, and the product is within 2^-52.
 */
export function divide(start: number, end: number, scale: number): void {
  const inverse = 1 / scale;
  for (let i = start; i < end; i++) work[i] = (work[i] as number) * inverse;
}

/** Makes every NaN 0. */
export function clearNaN(start: number, end: number): void {
  for (let i = start; i < end; i++) if (Number.isNaN(work[i])) work[i] = 0;
}

/** Adds and rounds to float32. */
export function add(start: number, end: number, offset: number): void {
  for (let i = start; i < end; i++) work[i] = (work[i] as number) + offset;
}

/** Rounds to the dtype, ties to even. */
export function round(count: number, dtype: ComputeDType): void {
  if (dtype === "bfloat16") roundBfloat16(count);
  else if (dtype === "float16") roundFloat16(count);
}

function roundBfloat16(count: number): void {
  for (let i = 0; i < count; i++) {
    const pattern = bits[i] as number;
    bits[i] = (pattern + 0x7fff + ((pattern >>> 16) & 1)) & ~0xffff;
  }
}

function roundFloat16(count: number): void {
  for (let i = 0; i < count; i++) {
    const pattern = bits[i] as number;
    const magnitude = pattern & 0x7fffffff;
    if (magnitude >= FLOAT16_NORMAL && magnitude < FLOAT16_OVERFLOW) bits[i] = (pattern + 0xfff + ((pattern >>> 13) & 1)) & ~0x1fff;
    else if (magnitude !== 0) work[i] = roundTo(work[i] as number, "float16");
  }
}

/** Rounds to integers of [-128, 127]; there must be no NaN. */
export function encodeInt8(count: number): void {
  for (let i = 0; i < count; i++) clamped[i] = (work[i] as number) + 128;
  for (let i = 0; i < count / 4; i++) fours[i] = (fours[i] as number) ^ 0x80808080;
}

/** Rounds to integers of [0, 2^bits - 1]; NaN (0 / 0) becomes 0, as torch's conversion makes it on x86. */
export function encodeUnsigned(count: number, bits: number): void {
  const largest = 2 ** bits - 1;
  for (let i = 0; i < count; i++) clamped[i] = work[i] as number;
  let seen = 0;
  for (let i = 0; i < count / 4; i++) seen |= fours[i] as number;
  // Only tiny scales, and shifts that hqq has moved, make larger codes.
  if ((seen & (0x01010101 * (255 - largest))) === 0) return;
  for (let i = 0; i < count; i++) if ((codes[i] as number) > largest) codes[i] = largest;
}

/**
 * Rounds to 8-bit floats by a table of the code of every upper half of a float32 pattern. An upper half whose last bit is set if anything is
 * cut off lies on the right side of every tie of an 8-bit float.
 */
export function encodeFloat8(count: number, table: Uint8Array): void {
  for (let i = 0; i < count; i++) {
    const pattern = bits[i] as number;
    codes[i] = table[(pattern >>> 16) | (((pattern & 0xffff) + 0xffff) >>> 16)] as number;
  }
}
