/**
 * 8-bit codes: a row's largest magnitude becomes the type's largest number. `code = round(w / scale)`, clamped, every step in the weight's
 * own dtype.
 *
 * Quotients are products with the scale's reciprocal in float64: of two float32 numbers that is the same float32, since a quotient of
 * 24-bit significands is never nearer than 2^-49 to the middle of two neighbours, and the product is within 2^-52. It is 1.2 times as fast.
 * A scale of 0 needs no case of its own: w * Infinity is what w / 0 is.
 *
 * Source: optimum-quanto library/quantize.py, tensor/optimizers/absmax_optimizer.py@0.2.7.
 */
import { fromFloat32, toFloat32 } from "../tensor/convert.ts";
import type { ComputeDType } from "../tensor/dtype.ts";
import type { QType } from "./qtype.ts";
import { floatOfBits, ROUNDING_ERROR, roundTo, roundValues, TO_INTEGER } from "./rounding.ts";

/** Patterns from here on are infinity and NaN. */
const INFINITE = 0x7f800000;

/**
 * Quantizes groups of equal length; writes a scale per group and a byte per weight. Returns the place of a number that is not finite, or -1.
 *
 * Shapes: values [scale.length, groupLength], codes as many bytes.
 */
export function quantizeSymmetric(values: Float32Array, scale: Float32Array, codes: Uint8Array, qtype: QType, dtype: ComputeDType): number {
  const groupLength = values.length / scale.length;
  const bits = new Int32Array(values.buffer, values.byteOffset, values.length);
  const quotients = new Float32Array(qtype.kind === "float" ? groupLength : 0);
  for (let group = 0; group < scale.length; group++) {
    const start = group * groupLength;
    const largest = largestMagnitude(bits, start, start + groupLength);
    if (largest >= INFINITE) return start + bits.subarray(start).findIndex((pattern) => (pattern & 0x7fffffff) >= INFINITE);
    const step = roundTo(floatOfBits(largest) / qtype.qmax, dtype);
    scale[group] = step;
    if (qtype.kind === "int") encodeInt8(values, start, groupLength, 1 / step, dtype, codes);
    else encodeFloat8(values, start, quotients, 1 / step, dtype, codes, tableOf(qtype));
  }
  return -1;
}

function largestMagnitude(bits: Int32Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) {
    const magnitude = (bits[i] as number) & 0x7fffffff;
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

/**
 * The quotient is rounded to the dtype, then to an integer. The first can only matter for a quotient near the middle of two integers, so it is
 * left out elsewhere. NaN (0 / 0) becomes 0, as torch's conversion makes it on x86.
 */
function encodeInt8(values: Float32Array, start: number, count: number, inverse: number, dtype: ComputeDType, codes: Uint8Array): void {
  const error = ROUNDING_ERROR[dtype];
  for (let i = start; i < start + count; i++) {
    const quotient = (values[i] as number) * inverse;
    let code = quotient + TO_INTEGER - TO_INTEGER;
    if (Math.abs(quotient - code) >= 0.5 - Math.abs(quotient) * error) code = roundTo(quotient, dtype) + TO_INTEGER - TO_INTEGER;
    if (code > 127) code = 127;
    else if (code < -128) code = -128;
    codes[i] = code;
  }
}

/** The upper half of a float32 pattern, its last bit set if anything is cut off, lies on the right side of every tie of an 8-bit float. */
function encodeFloat8(
  values: Float32Array,
  start: number,
  quotients: Float32Array,
  inverse: number,
  dtype: ComputeDType,
  codes: Uint8Array,
  table: Uint8Array,
): void {
  const bits = new Int32Array(quotients.buffer);
  for (let i = 0; i < quotients.length; i++) quotients[i] = (values[start + i] as number) * inverse;
  roundValues(quotients, quotients.length, dtype);
  for (let i = 0; i < bits.length; i++) {
    const pattern = bits[i] as number;
    codes[start + i] = table[(pattern >>> 16) | (((pattern & 0xffff) + 0xffff) >>> 16)] as number;
  }
}

const tables = new Map<QType, Uint8Array>();

/** Code of every upper half of a float32 pattern, clamped to the type's range; 64 KiB, made on first use. */
function tableOf(qtype: QType): Uint8Array {
  let table = tables.get(qtype);
  if (table === undefined) {
    const halves = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, code) => code).buffer);
    const values = toFloat32(halves, "bfloat16").map((value) => Math.min(Math.max(value, qtype.qmin), qtype.qmax));
    table = fromFloat32(values, qtype.storedDType as "float8_e4m3fn");
    // The NaN of 0 / 0 is negative on x86, and so is its code; where a processor makes a positive one, the file shall be the same.
    const nan = qtype.storedDType === "float8_e4m3fnuz" ? 0x80 : 0xff;
    for (let i = 0; i < values.length; i++) if (Number.isNaN(values[i])) table[i] = nan;
    tables.set(qtype, table);
  }
  return table;
}
