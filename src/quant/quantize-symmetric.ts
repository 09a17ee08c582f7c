/**
 * 8-bit codes: a row's largest magnitude becomes the type's largest number. `code = round(w / scale)`, clamped, every step in the weight's
 * own dtype.
 *
 * Source: optimum-quanto library/quantize.py, tensor/optimizers/absmax_optimizer.py@0.2.7.
 */
import { fromFloat32, toFloat32 } from "../tensor/convert.ts";
import type { ComputeDType } from "../tensor/dtype.ts";
import { clearNaN, divide, eachGroup, encodeFloat8, encodeInt8, largestMagnitude, load, PIECE, round, storeCodes } from "./passes.ts";
import type { QType } from "./qtype.ts";
import { floatOfBits, roundTo } from "./rounding.ts";

/** Patterns from here on are infinity and NaN. */
const INFINITE = 0x7f800000;

/**
 * Quantizes groups of equal length; writes a scale per group and a byte per weight. Returns the place of a number that is not finite, or -1.
 *
 * Shapes: values [scale.length, groupLength], codes as many bytes.
 */
export function quantizeSymmetric(values: Float32Array, scale: Float32Array, codes: Uint8Array, qtype: QType, dtype: ComputeDType): number {
  const groupLength = values.length / scale.length;
  const largest = new Int32Array(scale.length);
  for (let first = 0; first < values.length; first += PIECE) {
    eachGroup(first, load(values, first), groupLength, (group, start, end) => {
      largest[group] = Math.max(largest[group] as number, largestMagnitude(start, end));
    });
  }
  if (largest.some((pattern) => pattern >= INFINITE)) return values.findIndex((value) => !Number.isFinite(value));
  for (let group = 0; group < scale.length; group++) {
    scale[group] = roundTo(floatOfBits(largest[group] as number) / qtype.qmax, dtype);
  }
  for (let first = 0; first < values.length; first += PIECE) {
    const count = values.length > PIECE ? load(values, first) : values.length;
    eachGroup(first, count, groupLength, (group, start, end) => {
      divide(start, end, scale[group] as number);
      // torch makes 0 of the NaN of 0 / 0 when it converts to integers on x86.
      if (scale[group] === 0 && qtype.kind === "int") clearNaN(start, end);
    });
    round(count, dtype);
    if (qtype.kind === "int") encodeInt8(count);
    else encodeFloat8(count, tableOf(qtype));
    storeCodes(codes, first, count);
  }
  return -1;
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
