/**
 * Which zero torch's `amin` returns when the smallest numbers of a group are zeros of both signs: the sign of the shift in a file.
 *
 * No result depends on it but bytes. torch takes numbers in blocks of four 32-byte registers, each lane keeping the last of equals, then
 * goes through the lanes and through what is left over, keeping the first of equals. Its reductions are the same with and without AVX-512;
 * on another processor torch may write the other zero.
 *
 * Source: torch aten/src/ATen/native/cpu/Reduce.h@2.13.0.
 */
import { type ComputeDType, elementSizeBytes } from "../tensor/dtype.ts";

/** Returns 0 or -0; the numbers at [start, start + length) are 0, -0 or positive. */
export function smallestZero(values: Float32Array, start: number, length: number, dtype: ComputeDType): number {
  const lanes = 32 / elementSizeBytes(dtype);
  const blocks = Math.floor(length / (4 * lanes));
  const candidates: number[] = [];
  for (let lane = 0; lane < lanes && blocks > 0; lane++) {
    for (let register = 3; register >= 0; register--) {
      for (let block = blocks - 1; block >= 0; block--) candidates.push((block * 4 + register) * lanes + lane);
    }
  }
  for (let i = blocks * 4 * lanes; i < length; i++) candidates.push(i);
  const found = candidates.find((i) => values[start + i] === 0);
  return values[start + (found ?? 0)] as number;
}
