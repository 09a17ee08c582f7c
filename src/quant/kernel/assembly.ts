/**
 * The inner loops of quantization, four weights at a time: AssemblyScript, which `npm run generate` compiles to WebAssembly (kernel-wasm.ts).
 * JavaScript calls them through kernel.ts, on one piece of a weight after another; what is done once a group is done there.
 *
 * Weights are calculated with as float32 numbers that their own dtype can hold: f32x4 is IEEE arithmetic, and each result is rounded to
 * the dtype before the next operation, ties to even. Nothing depends on the processor but the sign of a NaN, which nothing here looks at.
 *
 * The memory belongs to `reserve`, which lays it out for N weights in G groups:
 *
 *     values    N float32    the weights, widened
 *     stored    N uint16     the weights as the file has them, if those are 16 bits wide
 *     codes     N uint8      a code for each weight; after `pack`, the bytes of the file
 *     smallest  G int32      the range of each group: patterns in the order of the numbers, see inOrder
 *     largest   G int32
 *     scales    G float32    a scale for each group
 *     shifts    G float32    a shift for each group (4 and 2 bits)
 *
 * Each region is a little longer, so that loops need no tails: the last step reads and writes beyond the end. Where groups lie one behind
 * the other, what a group writes beyond its end is written again by the next.
 */

/** Dtypes, as kernel.ts numbers them. */
const FLOAT16 = 1;
const BFLOAT16 = 2;

const SLACK: usize = 64;
const PAGE: usize = 65536;

/** Where the regions begin. */
export const values: usize = 0;
export let stored: usize = 0;
export let codes: usize = 0;
export let smallest: usize = 0;
export let largest: usize = 0;
export let scales: usize = 0;
export let shifts: usize = 0;

/** Lays the memory out; returns false if there is not enough. */
export function reserve(weights: usize, groups: usize): bool {
  stored = values + regionOf(4 * weights);
  codes = stored + regionOf(2 * weights);
  smallest = codes + regionOf(weights);
  largest = smallest + regionOf(4 * groups);
  scales = largest + regionOf(4 * groups);
  shifts = scales + regionOf(4 * groups);
  const pages = <i32>((shifts + regionOf(4 * groups) + PAGE - 1) / PAGE);
  return pages <= memory.size() || memory.grow(pages - memory.size()) >= 0;
}

/** The bytes of a region, with what the last step may touch behind it; regions begin on multiples of 16. */
function regionOf(bytes: usize): usize {
  return ((bytes + 15) & ~15) + SLACK;
}

/** stored -> values. The numbers of a float16: exponent and mantissa move to their places, the exponent gets another bias. */
export function widenFloat16(count: usize): void {
  for (let i: usize = 0; i < count; i += 4) {
    const half = v128.load_ext<i16>(stored + 2 * i);
    const magnitude = i32x4.shl(v128.and(half, i32x4.splat(0x7fff)), 13);
    const normal = i32x4.add(magnitude, i32x4.splat((127 - 15) << 23));
    // The exponent 0 counts as 1, and has no leading 1 before its mantissa: both are taken away again as a number.
    const subnormal = f32x4.sub(i32x4.add(normal, i32x4.splat(1 << 23)), f32x4.splat(f32(2.0 ** -14)));
    const finite = v128.bitselect(subnormal, normal, i32x4.lt_s(magnitude, i32x4.splat(1 << 23)));
    const infinite = v128.and(i32x4.ge_s(magnitude, i32x4.splat(0x1f << 23)), i32x4.splat(0x7f800000));
    const sign = v128.and(half, i32x4.splat(0x80000000));
    v128.store(values + 4 * i, v128.or(v128.or(finite, infinite), sign));
  }
}

/** stored -> values. A bfloat16 is the upper half of a float32. */
export function widenBfloat16(count: usize): void {
  for (let i: usize = 0; i < count; i += 4) v128.store(values + 4 * i, i32x4.shl(v128.load_ext<u16>(stored + 2 * i), 16));
}

/** Rounds the values to a dtype. */
export function roundValues(count: usize, dtype: i32): void {
  for (let i: usize = 0; i < count; i += 4) v128.store(values + 4 * i, round(v128.load(values + 4 * i), dtype));
}

function round(x: v128, dtype: i32): v128 {
  if (dtype === FLOAT16) return roundFloat16(x);
  if (dtype === BFLOAT16) return roundBfloat16(x);
  return x;
}

/**
 * Adds a number so large that the sum's last bit is float16's last bit for x, and takes it away: 1.5 * 2^13 times x's power of two, but not
 * less than for the subnormal numbers. What is then beyond float16's largest number becomes infinite by way of float32's own overflow.
 */
function roundFloat16(x: v128): v128 {
  const power = v128.and(x, i32x4.splat(0x7f800000));
  const bounded = i32x4.min_s(i32x4.max_s(power, i32x4.splat((127 - 14) << 23)), i32x4.splat((127 + 16) << 23));
  const large = v128.or(i32x4.add(bounded, i32x4.splat(13 << 23)), i32x4.splat(1 << 22));
  const rounded = f32x4.sub(f32x4.add(x, large), large);
  const overflown = f32x4.mul(f32x4.mul(rounded, f32x4.splat(f32(2.0 ** 112))), f32x4.splat(f32(2.0 ** -112)));
  return v128.or(overflown, v128.and(x, i32x4.splat(0x80000000)));
}

/** Adds nearly half of the last bit that stays, or half where that makes it even, and cuts off the rest. */
function roundBfloat16(x: v128): v128 {
  const odd = v128.and(i32x4.shr_u(x, 16), i32x4.splat(1));
  const rounded = v128.and(i32x4.add(i32x4.add(x, i32x4.splat(0x7fff)), odd), i32x4.splat(0xffff0000));
  return v128.bitselect(rounded, x, f32x4.eq(x, x));
}

/** values -> largest. The pattern of each group's largest magnitude: 0x7f800000 or more if there is an infinity or NaN. */
export function findLargest(groups: usize, groupLength: usize): void {
  let i: usize = values;
  for (let group: usize = 0; group < groups; group++) {
    const end = i + 4 * groupLength;
    let most = i32x4.splat(0);
    for (; i + 16 <= end; i += 16) most = i32x4.max_s(most, v128.and(v128.load(i), i32x4.splat(0x7fffffff)));
    for (; i < end; i += 4) most = i32x4.max_s(most, v128.and(v128.load32_splat(i), i32x4.splat(0x7fffffff)));
    store<i32>(largest + 4 * group, largestLane(most));
  }
}

/** values -> smallest, largest. The smallest and the largest number of each group, in order: -0 comes before 0. */
export function findRanges(groups: usize, groupLength: usize): void {
  let i: usize = values;
  for (let group: usize = 0; group < groups; group++) {
    const end = i + 4 * groupLength;
    let least = i32x4.splat(0x7fffffff);
    let most = i32x4.splat(0x80000000);
    for (; i + 16 <= end; i += 16) {
      const order = inOrder(v128.load(i));
      least = i32x4.min_s(least, order);
      most = i32x4.max_s(most, order);
    }
    for (; i < end; i += 4) {
      const order = inOrder(v128.load32_splat(i));
      least = i32x4.min_s(least, order);
      most = i32x4.max_s(most, order);
    }
    // The smallest is the one whose complement is largest.
    store<i32>(smallest + 4 * group, ~largestLane(v128.not(least)));
    store<i32>(largest + 4 * group, largestLane(most));
  }
}

/** A float's pattern as an integer that is ordered as the numbers are. */
function inOrder(pattern: v128): v128 {
  return v128.xor(pattern, i32x4.shr_u(i32x4.shr_s(pattern, 31), 1));
}

function largestLane(x: v128): i32 {
  const pairs = i32x4.max_s(x, i32x4.shuffle(x, x, 2, 3, 0, 1));
  return i32x4.extract_lane(i32x4.max_s(pairs, i32x4.shuffle(pairs, pairs, 1, 0, 3, 2)), 0);
}

/** values, scales -> codes: `round(w / scale)`, clamped to [-128, 127]; the NaN of 0 / 0 becomes 0. */
export function encodeInt8(groups: usize, groupLength: usize, dtype: i32): void {
  let i: usize = 0;
  for (let group: usize = 0; group < groups; group++) {
    const scale = v128.load32_splat(scales + 4 * group);
    const end = (group + 1) * groupLength;
    for (; i < end; i += 4) {
      const quotient = round(f32x4.div(v128.load(values + 4 * i), scale), dtype);
      const integers = toIntegers(quotient);
      v128.store32_lane(codes + i, i8x16.narrow_i16x8_s(integers, integers), 0);
    }
    i = end;
  }
}

/** values, scales, shifts -> codes: `round((w + shift) / scale)`, clamped to [0, most]; the NaN of 0 / 0 becomes 0. */
export function encodeUnsigned(groups: usize, groupLength: usize, dtype: i32, most: i32): void {
  let i: usize = 0;
  for (let group: usize = 0; group < groups; group++) {
    const scale = v128.load32_splat(scales + 4 * group);
    const shift = v128.load32_splat(shifts + 4 * group);
    const end = (group + 1) * groupLength;
    for (; i < end; i += 4) {
      const shifted = round(f32x4.add(v128.load(values + 4 * i), shift), dtype);
      const integers = toIntegers(round(f32x4.div(shifted, scale), dtype));
      v128.store32_lane(codes + i, i8x16.min_u(i8x16.narrow_i16x8_u(integers, integers), i8x16.splat(<i8>most)), 0);
    }
    i = end;
  }
}

/** Four 16-bit integers, ties to even, clamped to their range; NaN becomes 0. */
function toIntegers(x: v128): v128 {
  const integers = i32x4.trunc_sat_f32x4_s(f32x4.nearest(x));
  return i16x8.narrow_i32x4_s(integers, integers);
}

/**
 * values, scales -> codes: `w / scale`, clamped to [-most, most] and rounded to a float of 8 bits that has so many bits of mantissa and such
 * a bias. The NaN of 0 / 0 becomes `nan`; `signedZero` is -1 where a zero has a sign, else 0.
 */
export function encodeFloat8(
  groups: usize,
  groupLength: usize,
  dtype: i32,
  mantissaBits: i32,
  bias: i32,
  most: f32,
  nan: i32,
  signedZero: i32,
): void {
  const dropped = 23 - mantissaBits;
  const smallestNormal = f32x4.splat(reinterpret<f32>((128 - bias) << 23));
  // What it is added to has the subnormal numbers' step as its last bit.
  const subnormal = i32x4.splat((128 - bias + dropped) << 23);
  const rebase = i32x4.splat(((bias - 127) << 23) + (1 << (dropped - 1)) - 1);
  let i: usize = 0;
  for (let group: usize = 0; group < groups; group++) {
    const scale = v128.load32_splat(scales + 4 * group);
    const end = (group + 1) * groupLength;
    for (; i < end; i += 4) {
      const x = round(f32x4.div(v128.load(values + 4 * i), scale), dtype);
      const magnitude = f32x4.pmin(f32x4.splat(most), f32x4.abs(x));
      const odd = v128.and(i32x4.shr_u(magnitude, dropped), i32x4.splat(1));
      const normalCode = i32x4.shr_u(i32x4.add(i32x4.add(magnitude, rebase), odd), dropped);
      const subnormalCode = i32x4.sub(f32x4.add(magnitude, subnormal), subnormal);
      const code = v128.bitselect(subnormalCode, normalCode, f32x4.lt(magnitude, smallestNormal));
      const sign = v128.and(
        v128.and(i32x4.shr_u(x, 24), i32x4.splat(0x80)),
        v128.or(i32x4.ne(code, i32x4.splat(0)), i32x4.splat(signedZero)),
      );
      const bytes = v128.bitselect(v128.or(code, sign), i32x4.splat(nan), f32x4.eq(x, x));
      const shorts = i16x8.narrow_i32x4_s(bytes, bytes);
      v128.store32_lane(codes + i, i8x16.narrow_i16x8_u(shorts, shorts), 0);
    }
    i = end;
  }
}

/**
 * codes -> codes. Puts the parts of the codes, of equal length and one behind the other, into the bytes of the first: part k fills the bits
 * from k * bits on. (The last step writes to the second part, which has been read by then.)
 */
export function pack(partLength: usize, bits: i32): void {
  for (let i: usize = 0; i < partLength; i += 16) {
    let bytes = v128.load(codes + i);
    for (let part = partLength, shift = bits; shift < 8; part += partLength, shift += bits) {
      bytes = v128.or(bytes, i32x4.shl(v128.load(codes + part + i), shift));
    }
    v128.store(codes + i, bytes);
  }
}
