/**
 * How many weights share a scale. Files do not store it: whoever reads one derives it again from shape and qtype.
 *
 * Source: optimum-quanto nn/qmodule.py@0.2.7.
 */
import { elementCount } from "../tensor/tensor.ts";
import type { QType } from "./qtype.ts";

const LARGEST = 128;
const STEP = 32;

/**
 * The number of weights in a group of 4- or 2-bit codes, or undefined where each output row is one group (always for 8 bits).
 *
 * 128 for rows longer than 128, lowered by 32 until it divides the row; a row that even 32 does not divide is not split.
 *
 * Shapes: weight [out, in] or [out, in, height, width]; a row is everything behind the first axis.
 */
export function groupSizeOf(shape: readonly number[], qtype: QType): number | undefined {
  const rowLength = elementCount(shape.slice(1));
  if (qtype.bits === 8 || rowLength <= LARGEST) return undefined;
  for (let size = LARGEST; size >= STEP; size -= STEP) if (rowLength % size === 0) return size;
  return undefined;
}
