/**
 * Rounding of float32 noise to float16 or bfloat16, kept in float32: nearest value, halves to even, by adding half a step to the bits.
 */
import type { ComputeDType } from "../tensor/dtype.ts";

const SMALLEST_NORMAL_FLOAT16 = 2 ** -14;

/** Rounds every value to the nearest one that the dtype has; values must lie within its range (noise stays below 10). */
export function roundInPlace(data: Float32Array, dtype: ComputeDType): void {
  if (dtype === "float32") return;
  const droppedBits = dtype === "float16" ? 13 : 16;
  const smallestNormal = dtype === "float16" ? SMALLEST_NORMAL_FLOAT16 : 0;
  const mask = -1 << droppedBits;
  const almostHalf = (1 << (droppedBits - 1)) - 1;
  const bits = new Int32Array(data.buffer, data.byteOffset, data.length);
  for (let i = 0; i < data.length; i++) {
    const value = data[i] as number;
    if (Math.abs(value) < smallestNormal) {
      // Near 0.75 a float32 step is 2^-24, the constant step of float16's denormals. A zero keeps its sign.
      data[i] = Math.fround(value + 0.75) - 0.75 || value * 0;
    } else {
      const word = bits[i] as number;
      bits[i] = (word + almostHalf + ((word >>> droppedBits) & 1)) & mask;
    }
  }
}
