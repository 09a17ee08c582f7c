/**
 * 8-bit codes: a row's largest magnitude becomes the type's largest number. `code = round(w / scale)`, clamped, every step in the weight's
 * own dtype.
 *
 * Both functions work on groups of equal length that lie in the kernel's memory.
 *
 * Source: optimum-quanto library/quantize.py, tensor/optimizers/absmax_optimizer.py@0.2.7.
 */
import { FLOAT8 } from "../tensor/convert.ts";
import type { ComputeDType } from "../tensor/dtype.ts";
import { DTYPE_NUMBER, type Kernel } from "./kernel/kernel.ts";
import type { QType } from "./qtype.ts";
import { floatOfBits, roundTo } from "./rounding.ts";

/** Patterns from here on are infinity and NaN. */
const INFINITE = 0x7f800000;

/** Finds the scale of each group; returns false if a weight is not finite. */
export function findScales(kernel: Kernel, groups: number, groupLength: number, qtype: QType, dtype: ComputeDType): boolean {
  const { largest, scales } = kernel;
  kernel.findLargest(groups, groupLength);
  for (let group = 0; group < groups; group++) {
    const pattern = largest[group] as number;
    if (pattern >= INFINITE) return false;
    scales[group] = roundTo(floatOfBits(pattern) / qtype.qmax, dtype);
  }
  return true;
}

/** Turns the weights of groups whose scales are known into codes, one per byte. */
export function encodeSymmetric(kernel: Kernel, groups: number, groupLength: number, qtype: QType, dtype: ComputeDType): void {
  if (qtype.kind === "int") {
    kernel.encodeInt8(groups, groupLength, DTYPE_NUMBER[dtype]);
    return;
  }
  const { mantissaBits, bias, nanCode, unsigned } = FLOAT8[qtype.storedDType as keyof typeof FLOAT8];
  // The NaN of 0 / 0 is negative on x86, and so is its code; where a processor makes a positive one, the file shall be the same.
  const nan = nanCode | 0x80;
  kernel.encodeFloat8(groups, groupLength, DTYPE_NUMBER[dtype], mantissaBits, bias, qtype.qmax, nan, unsigned ? 0 : -1);
}
