/**
 * Arithmetic in a weight's own dtype, as torch does it on a CPU: calculate in float32, round the result to the dtype, next operation.
 *
 * Numbers are kept as float32 that the dtype can hold. (The inner loops of quantization round by themselves: kernel/.)
 */
import type { ComputeDType } from "../tensor/dtype.ts";

/** Bits of a float32 mantissa that the dtype lacks. */
const DROPPED = { float32: 0, float16: 13, bfloat16: 16 } as const satisfies Record<ComputeDType, number>;

const one = new Float32Array(1);
const oneBits = new Int32Array(one.buffer);

/** float16's smallest normal number and the first that overflows, as float32 patterns. */
const FLOAT16_NORMAL = 0x38800000;
const FLOAT16_OVERFLOW = 0x477ff000;
/** Adding and taking it away leaves a multiple of 2^-24, the step of float16's subnormals, ties to even. */
const FLOAT16_STEP = 1.5 * 2 ** 28;

/** Rounds float32 numbers to what the dtype can hold, ties to even, in place: those at [0, count). */
export function roundValues(values: Float32Array, count: number, dtype: ComputeDType): void {
  if (dtype === "float32") return;
  const bits = new Int32Array(values.buffer, values.byteOffset, count);
  const half = 2 ** (DROPPED[dtype] - 1) - 1;
  if (dtype === "bfloat16") {
    // Infinity stays, and so does the NaN that arithmetic makes; a NaN with a full payload cannot come from arithmetic.
    for (let i = 0; i < count; i++) {
      const pattern = bits[i] as number;
      bits[i] = (pattern + half + ((pattern >>> 16) & 1)) & ~0xffff;
    }
    return;
  }
  for (let i = 0; i < count; i++) {
    const pattern = bits[i] as number;
    const magnitude = pattern & 0x7fffffff;
    if (magnitude >= FLOAT16_NORMAL && magnitude < FLOAT16_OVERFLOW) bits[i] = (pattern + half + ((pattern >>> 13) & 1)) & ~0x1fff;
    else if (magnitude !== 0) values[i] = roundFloat16Edge(values[i] as number);
  }
}

/** Rounds one number to float32, then to the dtype. */
export function roundTo(value: number, dtype: ComputeDType): number {
  if (dtype === "float32") return Math.fround(value);
  one[0] = value;
  const pattern = oneBits[0] as number;
  const magnitude = pattern & 0x7fffffff;
  if (dtype === "bfloat16") oneBits[0] = (pattern + 0x7fff + ((pattern >>> 16) & 1)) & ~0xffff;
  else if (magnitude >= FLOAT16_NORMAL && magnitude < FLOAT16_OVERFLOW) oneBits[0] = (pattern + 0xfff + ((pattern >>> 13) & 1)) & ~0x1fff;
  else if (magnitude !== 0) return roundFloat16Edge(one[0] as number);
  return one[0] as number;
}

/** float16 below its normal numbers and above its largest. */
function roundFloat16Edge(value: number): number {
  if (Math.abs(value) >= 1) return value * Number.POSITIVE_INFINITY;
  const rounded = value + FLOAT16_STEP - FLOAT16_STEP;
  return rounded === 0 ? value * 0 : rounded;
}

/** The float32 number of a pattern. */
export function floatOfBits(pattern: number): number {
  oneBits[0] = pattern;
  return one[0] as number;
}
