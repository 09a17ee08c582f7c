/**
 * From codes, as Quanto stores them, to float32 values inside a graph: the table of which nodes a qtype takes.
 *
 * | qtype | whole weights | slices of a weight |
 * |---|---|---|
 * | qint8 | DequantizeLinear by row | the same |
 * | qfloat8, three kinds | DequantizeLinear by row | each row looks its codes up in a table of 256 values times its scale |
 * | qint4, qint2 | bytes shifted and masked apart, DequantizeLinear by group, minus the shift | the same |
 *
 * DequantizeLinear converts 8-bit floats one by one and on one thread (1.0 ns a weight on a Zen 5; 0.45 by table on two threads). The table
 * needs indices of 32 bits, though, which a whole weight has no memory for.
 */
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { Graph, Value } from "../graph/graph.ts";
import {
  bitwiseAnd,
  cast,
  concat,
  dequantizeLinear,
  gatherElements,
  multiply,
  reshape,
  shiftRight,
  slice,
  subtract,
  waitFor,
  zeroUnless,
} from "../graph/operators.ts";
import type { WeightLayout } from "../quant/weight-layout.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { conversions } from "./weight.ts";

/** A quantized weight, or rows of one that are a quantized weight by themselves. */
export interface StoredCodes {
  readonly layout: WeightLayout;
  readonly data: StoredTensor;
  /** Scales of the groups; in several tensors where they do not lie next to each other. */
  readonly scale: readonly StoredTensor[];
  /** Shifts of the groups, for 4 and 2 bits. */
  readonly shift: readonly StoredTensor[];
  /**
   * Whether a row's scale is 0. In a row of zeros Quanto divides 0 by 0: float8 stores NaN, and NaN times that scale would spoil every sum, so
   * such rows are read as zeros.
   */
  readonly hasZeroScale: boolean;
}

/**
 * The values of quantized weights of one qtype, one below the other; unpacked when `after` is known.
 *
 * Shapes: weights of [out, ...] each -> [sum of out, ...].
 */
export function dequantize(g: Graph, parts: readonly StoredCodes[], after: Value, options: { readonly isDeclared?: boolean } = {}): Value {
  const [{ layout, hasZeroScale }] = parts as [StoredCodes];
  const shape = [parts.reduce((sum, part) => sum + (part.layout.shape[0] as number), 0), ...layout.shape.slice(1)];
  const data = parts.map((part) => waitFor(g, g.weight(part.data), after, options));
  const scales = parts.map((part) => joinStored(g, part.scale));
  const rowScale = join(
    g,
    scales.map((scale, i) => reshape(g, scale, scale.shape.length === 0 && parts.length === 1 ? [] : [parts[i]?.layout.groups as number])),
  );
  if (layout.shift === undefined) {
    const values = dequantizeLinear(g, join(g, data), rowScale);
    return hasZeroScale ? zeroUnless(g, reshape(g, rowScale, perRow(rowScale, shape)), values) : values;
  }
  const codes = data.map((value, i) => unpacked(g, value, (parts[i] as StoredCodes).layout));
  const shifts = parts.map((part) => joinStored(g, part.shift));
  if (layout.perColumn) {
    const each = codes.map((value, i) => subtract(g, multiply(g, cast(g, value, "float32"), scales[i] as Value), shifts[i] as Value));
    return reshape(g, join(g, each), shape);
  }
  return reshape(g, subtract(g, dequantizeLinear(g, join(g, codes), rowScale), join(g, shifts)), shape);
}

/** The same for rows of one weight that are few enough for 32 bits an index. */
export function dequantizeSlice(g: Graph, part: StoredCodes, after: Value): Value {
  const { layout, hasZeroScale } = part;
  if (layout.qtype.kind !== "float") return dequantize(g, [part], after, { isDeclared: true });
  const rowScale = reshape(g, joinStored(g, part.scale), [layout.groups, 1]);
  const scaled = multiply(g, rowScale, g.floats(valuesOfCodes(layout.qtype.storedDType as "float8_e4m3fn"), [1, 256]));
  const table = hasZeroScale ? zeroUnless(g, rowScale, scaled) : scaled;
  const codes = waitFor(g, g.weight({ ...part.data, dtype: "uint8" }), after, { isDeclared: true });
  return gatherElements(g, table, cast(g, codes, "int32"));
}

function perRow(scale: Value, shape: readonly number[]): number[] {
  return scale.shape.length === 0 ? [] : [shape[0] as number, ...shape.slice(1).map(() => 1)];
}

function valuesOfCodes(dtype: "float8_e4m3fn" | "float8_e4m3fnuz" | "float8_e5m2"): Float32Array {
  return toFloat32(
    Uint8Array.from({ length: 256 }, (_, code) => code),
    dtype,
  );
}

/** One code a byte, of bytes that hold row i in their lowest bits and rows i + R/n, i + 2R/n … in the higher ones. */
function unpacked(g: Graph, data: Value, { qtype: { bits }, groups }: WeightLayout): Value {
  const mask = 2 ** bits - 1;
  const parts = Array.from({ length: 8 / bits }, (_, part) => {
    const shifted = part === 0 ? data : shiftRight(g, data, part * bits);
    // The highest part has nothing above it to mask.
    return part === 8 / bits - 1 ? shifted : bitwiseAnd(g, shifted, mask);
  });
  return slice(g, concat(g, parts, 0), 0, 0, groups);
}

/** Scales in float32, one tensor below the other. */
export function joinStored(g: Graph, stored: readonly StoredTensor[]): Value {
  return join(
    g,
    stored.map((tensor) => widened(g, g.weight(tensor))),
  );
}

function widened(g: Graph, value: Value): Value {
  return conversions(value.dtype, "float32").reduce((previous, dtype) => cast(g, previous, dtype), value);
}

/** Values one below the other. */
export function join(g: Graph, values: readonly Value[]): Value {
  return values.length === 1 ? (values[0] as Value) : concat(g, values, 0);
}
