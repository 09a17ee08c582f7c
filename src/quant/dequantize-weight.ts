/**
 * The numbers that a quantized weight stands for, exactly as Quanto's `dequantize()` gives them: 8 bits `scale * code`, fewer bits
 * `scale * code - shift`, each operation rounded to the weight's dtype.
 *
 * Source: optimum-quanto tensor/qbytes.py, tensor/qbits.py@0.2.7.
 */
import { toFloat32 } from "../tensor/convert.ts";
import { elementCount } from "../tensor/tensor.ts";
import { unpackCodes } from "./pack.ts";
import type { QuantizedTensor, QuantizedWeight } from "./quantize-weight.ts";
import { roundValues } from "./rounding.ts";
import type { WeightLayout } from "./weight-layout.ts";

/** How to dequantize. */
export interface DequantizeOptions {
  /**
   * Gives zeros for rows of 8-bit codes whose scale is 0, which is what such rows were made of. Quanto gives NaN for float8, as the codes are
   * NaN; that is the default here.
   */
  readonly zeroRows?: boolean;
}

/** Returns the numbers of a quantized weight as float32 that its dtype can hold, in the weight's own shape, row-major. */
export function dequantizeWeight(layout: WeightLayout, weight: QuantizedWeight, options: DequantizeOptions = {}): Float32Array {
  const { dtype, groups, groupLength, qtype } = layout;
  const { data, scale, shift } = weight;
  const { bits } = qtype;
  const codes = bits === 8 ? toFloat32(data.bytes, data.dtype) : Float32Array.from(unpackCodes(data.bytes, groups, groupLength, bits));
  const values = codes.slice();
  const matrix = layout.groupSize === undefined ? layout.shape : [groups, groupLength];
  const scales = toFloat32(scale.bytes, scale.dtype);
  const scaleAt = spread(scale, matrix);
  for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) * (scales[scaleAt(i)] as number);
  roundValues(values, values.length, dtype);
  if (shift !== undefined) {
    const shifts = toFloat32(shift.bytes, shift.dtype);
    const shiftAt = spread(shift, matrix);
    for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) - (shifts[shiftAt(i)] as number);
    roundValues(values, values.length, dtype);
  } else if (options.zeroRows) {
    for (let i = 0; i < values.length; i++) if (scales[scaleAt(i)] === 0) values[i] = 0;
  }
  return values;
}

/** Where a scale or shift that is broadcast over a matrix has the number for a weight; its axes longer than 1 stand side by side. */
function spread(parameter: QuantizedTensor, matrix: readonly number[]): (index: number) => number {
  const count = elementCount(parameter.shape);
  const last = parameter.shape.findLastIndex((dim) => dim !== 1);
  const inner = last < 0 ? 1 : elementCount(matrix.slice(last + 1));
  return (index) => Math.floor(index / inner) % count;
}
