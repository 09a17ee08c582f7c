/**
 * Sums as torch sums a contiguous run on a CPU, in float32: eight lanes, four at a time, in a cascade of at most four levels; so hqq's shifts
 * come out as torch's do, where a float64 sum drifts away by an ulp per round. Its sums are the same with and without AVX-512.
 *
 * Source: torch aten/src/ATen/native/cpu/SumKernel.cpp@2.13.0.
 */

const LANES = 8;
const ROWS = 4;
const LEVELS = 4;

/** Returns the sum of the numbers at [start, start + count). */
export function sumFloat32(values: Float32Array, start: number, count: number): number {
  if (count < LANES) return sumLane(values, start, 1, count);
  const perLane = Math.floor(count / LANES);
  let sum = 0;
  for (let i = perLane * LANES; i < count; i++) sum = Math.fround(sum + (values[start + i] as number));
  for (let lane = 0; lane < LANES; lane++) sum = Math.fround(sum + sumLane(values, start + lane, LANES, perLane));
  return sum;
}

/** Every `stride`-th number, as four interleaved cascades and what is left over. */
function sumLane(values: Float32Array, start: number, stride: number, count: number): number {
  const perRow = Math.floor(count / ROWS);
  let sum = perRow === 0 ? 0 : cascade(values, start, stride * ROWS, perRow);
  for (let i = perRow * ROWS; i < count; i++) sum = Math.fround(sum + (values[start + i * stride] as number));
  for (let row = 1; row < ROWS && perRow > 0; row++) {
    sum = Math.fround(sum + cascade(values, start + row * stride, stride * ROWS, perRow));
  }
  return sum;
}

/** Partial sums of 16 numbers or more, sums of those, and so on. */
function cascade(values: Float32Array, start: number, stride: number, count: number): number {
  const power = Math.max(4, Math.floor(Math.ceil(Math.log2(count)) / LEVELS));
  const step = 2 ** power;
  const sums = new Float32Array(LEVELS);
  const add = (level: number, value: number) => {
    sums[level] = (sums[level] as number) + value;
  };
  let i = 0;
  while (i + step <= count) {
    for (const end = i + step; i < end; i++) add(0, values[start + i * stride] as number);
    for (let level = 1; level < LEVELS; level++) {
      add(level, sums[level - 1] as number);
      sums[level - 1] = 0;
      if ((i & ((step - 1) << (level * power))) !== 0) break;
    }
  }
  for (; i < count; i++) add(0, values[start + i * stride] as number);
  for (let level = 1; level < LEVELS; level++) add(0, sums[level] as number);
  return sums[0] as number;
}
