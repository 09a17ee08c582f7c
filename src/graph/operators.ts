/**
 * The operators that models are written in: each adds one node and infers the output's shape.
 *
 * All are float32 unless said. Operators of onnxruntime's own (domain com.microsoft) stand for what the standard set would take several for.
 */
import type { DType } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { Graph, Value } from "./graph.ts";

/** Elementwise sum with broadcasting. */
export function add(g: Graph, a: Value, b: Value): Value {
  return g.node("Add", [a, b], broadcast("Add", a, b), { dtype: a.dtype });
}

/** Elementwise product with broadcasting. */
export function multiply(g: Graph, a: Value, b: Value): Value {
  return g.node("Mul", [a, b], broadcast("Mul", a, b), { dtype: a.dtype });
}

/**
 * x times the transpose of a weight that is stored as torch stores it.
 *
 * Shapes: x [..., in], weight [out, in] -> [..., out].
 */
export function matMulTransposed(g: Graph, x: Value, weight: Value): Value {
  const [out, inFeatures] = weight.shape as [number, number];
  expect(x.shape.at(-1) === inFeatures, `MatMul of [${x.shape}] with [${out}, ${inFeatures}] transposed`);
  const shape = [...x.shape.slice(0, -1), out];
  return g.node("FusedMatMul", [x, weight], shape, { domain: "com.microsoft", attributes: { transB: 1 } });
}

/** The same elements under another shape, without a copy. */
export function reshape(g: Graph, x: Value, shape: readonly number[]): Value {
  expect(elementCount(shape) === elementCount(x.shape), `Reshape of [${x.shape}] to [${shape}]`);
  return g.node("Reshape", [x, g.integers(shape)], shape, { dtype: x.dtype });
}

/** Reorders axes: output axis i is input axis permutation[i]. */
export function transpose(g: Graph, x: Value, permutation: readonly number[]): Value {
  const shape = permutation.map((axis) => x.shape[axis] as number);
  return g.node("Transpose", [x], shape, { attributes: { perm: permutation }, dtype: x.dtype });
}

/** Joins values along an axis. */
export function concat(g: Graph, values: readonly Value[], axis: number): Value {
  const [first] = values as [Value];
  const shape = first.shape.map((dim, i) => (i === axis ? values.reduce((sum, value) => sum + (value.shape[axis] as number), 0) : dim));
  return g.node("Concat", values, shape, { attributes: { axis }, dtype: first.dtype });
}

/** Cuts a value into equal pieces along an axis. */
export function split(g: Graph, x: Value, pieces: number, axis: number): Value[] {
  const dim = x.shape[axis] as number;
  expect(dim % pieces === 0, `Split of [${x.shape}] into ${pieces} along axis ${axis}`);
  const shape = x.shape.map((size, i) => (i === axis ? size / pieces : size));
  return g.nodeWithOutputs("Split", [x], Array(pieces).fill(shape), { axis, num_outputs: pieces });
}

/** Converts to another dtype. */
export function cast(g: Graph, x: Value, dtype: DType): Value {
  return x.dtype === dtype ? x : g.node("Cast", [x], x.shape, { attributes: { to: ONNX_DTYPE[dtype] }, dtype });
}

/** Picks rows of a table: table [rows, width], indices [...] int64 -> [..., width]. */
export function gather(g: Graph, table: Value, indices: Value): Value {
  return g.node("Gather", [table, indices], [...indices.shape, ...table.shape.slice(1)], { attributes: { axis: 0 }, dtype: table.dtype });
}

/** Subtracts with broadcasting. */
export function subtract(g: Graph, a: Value, b: Value): Value {
  return g.node("Sub", [a, b], broadcast("Sub", a, b), { dtype: a.dtype });
}

/**
 * Codes times the scale of their row.
 *
 * Shapes: codes [rows, ...] int8, uint8 or float8, scale [rows] float32, or [] for one scale of all -> [rows, ...] float32.
 */
export function dequantizeLinear(g: Graph, codes: Value, scale: Value): Value {
  return g.node("DequantizeLinear", [codes, scale], codes.shape, { attributes: { axis: 0 } });
}

/** Values as bytes: (codes - zeroPoint) * scale. */
export interface QuantizedValue {
  /** uint8, or int8 for a weight. */
  readonly codes: Value;
  /** float32 [], of a weight [columns]. */
  readonly scale: Value;
  /** Of the codes' dtype; 0 where there is none. */
  readonly zeroPoint?: Value;
}

/** Rounds to whole numbers, half to even, from -zeroPoint to 255 - zeroPoint. */
export function roundToBytes(g: Graph, x: Value, zeroPoint: number): QuantizedValue {
  const [scale, zero] = [g.floats([1], []), g.byte(zeroPoint)];
  return { codes: g.node("QuantizeLinear", [x, scale, zero], x.shape, { dtype: "uint8" }), scale, zeroPoint: zero };
}

/**
 * The product of bytes, summed up in 32-bit integers and then multiplied by both scales.
 *
 * Shapes: x [..., in] uint8, weight [in, out] int8 or uint8 -> [..., out] float32.
 */
export function matMulIntegers(g: Graph, x: QuantizedValue, weight: QuantizedValue): Value {
  const [inFeatures, out] = weight.codes.shape as [number, number];
  expect(x.codes.shape.at(-1) === inFeatures, `MatMulIntegerToFloat of [${x.codes.shape}] with [${weight.codes.shape}]`);
  const inputs = [x.codes, weight.codes, x.scale, weight.scale, x.zeroPoint, weight.zeroPoint];
  while (inputs.at(-1) === undefined) inputs.pop();
  return g.node("MatMulIntegerToFloat", inputs, [...x.codes.shape.slice(0, -1), out], { domain: "com.microsoft" });
}

/** The largest value of each row: x [..., width] -> [..., 1]. */
export function maxOfRows(g: Graph, x: Value): Value {
  return g.node("ReduceMax", [x, g.integers([-1])], [...x.shape.slice(0, -1), 1], { attributes: { keepdims: 1 } });
}

/** The smallest value of each row: x [..., width] -> [..., 1]. */
export function minOfRows(g: Graph, x: Value): Value {
  return g.node("ReduceMin", [x, g.integers([-1])], [...x.shape.slice(0, -1), 1], { attributes: { keepdims: 1 } });
}

/** The larger of two values, with broadcasting. */
export function maximum(g: Graph, a: Value, b: Value): Value {
  return g.node("Max", [a, b], broadcast("Max", a, b));
}

/** Elementwise quotient with broadcasting. */
export function divide(g: Graph, a: Value, b: Value): Value {
  return g.node("Div", [a, b], broadcast("Div", a, b));
}

/**
 * Picks from each row of a table by its own indices.
 *
 * Shapes: table [rows, entries], indices [rows, ...] int32 -> [rows, ...].
 */
export function gatherElements(g: Graph, table: Value, indices: Value): Value {
  expect(table.shape[0] === indices.shape[0], `GatherElements of [${table.shape}] by [${indices.shape}]`);
  return g.node("GatherElements", [table, indices], indices.shape, { attributes: { axis: 1 }, dtype: table.dtype });
}

/** Takes values where the condition (x not 0, broadcast) holds, and 0 elsewhere, even in place of NaN. */
export function zeroUnless(g: Graph, condition: Value, values: Value): Value {
  return g.node("Where", [cast(g, condition, "bool"), values, g.floats([0])], values.shape);
}

/** The bits of bytes that a mask lets through. */
export function bitwiseAnd(g: Graph, x: Value, mask: number): Value {
  return g.node("BitwiseAnd", [x, g.byte(mask)], x.shape, { dtype: x.dtype });
}

/** Bytes with the bits of a mask turned over. */
export function bitwiseXor(g: Graph, x: Value, mask: number): Value {
  return g.node("BitwiseXor", [x, g.byte(mask)], x.shape, { dtype: x.dtype });
}

/** Bytes moved to the right by some bits. */
export function shiftRight(g: Graph, x: Value, bits: number): Value {
  return g.node("BitShift", [x, g.byte(bits)], x.shape, { dtype: x.dtype, attributes: { direction: "RIGHT" } });
}

/** The entries from `start` to before `end` along an axis. */
export function slice(g: Graph, x: Value, axis: number, start: number, end: number): Value {
  return sliceAxes(g, x, [{ axis, start, end }]);
}

/** The entries from `start` to before `end` along several axes at once. */
export function sliceAxes(g: Graph, x: Value, ranges: readonly { axis: number; start: number; end: number }[]): Value {
  const shape = [...x.shape];
  for (const { axis, start, end } of ranges) {
    expect(
      start >= 0 && start < end && end <= (x.shape[axis] as number),
      `Slice of [${x.shape}] from ${start} to ${end} along axis ${axis}`,
    );
    shape[axis] = end - start;
  }
  if (shape.every((dim, axis) => dim === x.shape[axis])) return x;
  const numbers = (of: "start" | "end" | "axis") => g.integers(ranges.map((range) => range[of]));
  return g.node("Slice", [x, numbers("start"), numbers("end"), numbers("axis")], shape, { dtype: x.dtype });
}

/** x * sigmoid(x), in one operator. */
export function silu(g: Graph, x: Value): Value {
  return g.node("QuickGelu", [x], x.shape, { domain: "com.microsoft", attributes: { alpha: { float: 1 } } });
}

/** x * sigmoid(1.702 x), OpenAI's approximation of GELU. */
export function quickGelu(g: Graph, x: Value): Value {
  return g.node("QuickGelu", [x], x.shape, { domain: "com.microsoft", attributes: { alpha: { float: 1.702 } } });
}

/** GELU, with the tanh approximation or the exact error function. */
export function gelu(g: Graph, x: Value, approximate: "tanh" | "none"): Value {
  return g.node("Gelu", [x], x.shape, { attributes: { approximate } });
}

/** max(x, 0). */
export function relu(g: Graph, x: Value): Value {
  return g.node("Relu", [x], x.shape);
}

/** Normalises the last axis to mean 0, variance 1, then scales and shifts: x [..., width], scale and bias [width]. */
export function layerNormalization(g: Graph, x: Value, scale: Value, bias: Value | undefined, epsilon: number): Value {
  return g.node("LayerNormalization", bias === undefined ? [x, scale] : [x, scale, bias], x.shape, {
    attributes: { axis: -1, epsilon: { float: epsilon } },
  });
}

/** Divides the last axis by its root mean square, then scales: x [..., width], scale [width]. */
export function rmsNormalization(g: Graph, x: Value, scale: Value, epsilon: number): Value {
  return g.node("SimplifiedLayerNormalization", [x, scale], x.shape, { attributes: { axis: -1, epsilon: { float: epsilon } } });
}

/** Normalises each channel of each picture over its elements: x [batch, channels, elements], scale and bias [channels]. */
export function instanceNormalization(g: Graph, x: Value, scale: Value, bias: Value, epsilon: number): Value {
  return g.node("InstanceNormalization", [x, scale, bias], x.shape, { attributes: { epsilon: { float: epsilon } } });
}

/**
 * Normalises each channel by a mean and a variance that are known already, then scales and shifts it.
 *
 * Shapes: x [batch, channels, ...], scale, bias, mean and variance [channels].
 */
export function batchNormalization(
  g: Graph,
  x: Value,
  options: { scale: Value; bias: Value; mean: Value; variance: Value; epsilon: number },
): Value {
  const { scale, bias, mean, variance, epsilon } = options;
  return g.node("BatchNormalization", [x, scale, bias, mean, variance], x.shape, { attributes: { epsilon: { float: epsilon } } });
}

/**
 * Attention over several heads in one fused operator.
 *
 * Shapes: query [batch, queries, heads * dim], key and value [batch, keys, heads * dim]; bias [batch or 1, heads or 1, queries, keys] is
 * added to the scores; keyMask int32 [batch, keys] adds -10000 where it is 0.
 */
export function multiHeadAttention(
  g: Graph,
  query: Value,
  key: Value,
  value: Value,
  options: { heads: number; scale: number; bias?: Value | undefined; keyMask?: Value | undefined },
): Value {
  const inputs = [query, key, value, undefined, options.keyMask, options.bias];
  while (inputs.at(-1) === undefined) inputs.pop();
  return g.node("MultiHeadAttention", inputs, [...query.shape.slice(0, -1), value.shape.at(-1) as number], {
    domain: "com.microsoft",
    attributes: { num_heads: options.heads, scale: { float: options.scale }, mask_filter_value: { float: -10000 } },
  });
}

/**
 * Two-dimensional convolution.
 *
 * Shapes: x [batch, in, height, width], weight [out, in, kh, kw], bias [out]; pads are [top, left, bottom, right].
 */
export function conv2d(
  g: Graph,
  x: Value,
  weight: Value,
  bias: Value | undefined,
  options: { stride?: number; pads?: readonly [number, number, number, number] } = {},
): Value {
  const stride = options.stride ?? 1;
  const pads = options.pads ?? [0, 0, 0, 0];
  const [batch, inChannels, height, width] = x.shape as [number, number, number, number];
  const [out, weightIn, kh, kw] = weight.shape as [number, number, number, number];
  expect(inChannels === weightIn, `Conv of [${x.shape}] with [${weight.shape}]`);
  const outHeight = Math.floor((height + pads[0] + pads[2] - kh) / stride) + 1;
  const outWidth = Math.floor((width + pads[1] + pads[3] - kw) / stride) + 1;
  return g.node("Conv", bias === undefined ? [x, weight] : [x, weight, bias], [batch, out, outHeight, outWidth], {
    attributes: { kernel_shape: [kh, kw], strides: [stride, stride], pads },
  });
}

/** Doubles height and width by repeating pixels: x [batch, channels, height, width]. */
export function upsampleNearest(g: Graph, x: Value): Value {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  return g.node("Resize", [x, undefined, g.floats([1, 1, 2, 2])], [batch, channels, height * 2, width * 2], {
    attributes: { mode: "nearest", coordinate_transformation_mode: "asymmetric", nearest_mode: "floor" },
  });
}

/**
 * Hides a constant from whoever runs constants first: the result equals `x`, but is not known before `after` is.
 *
 * onnxruntime executes every node whose inputs are constants before all others, which would unpack all weights at once. The shape given to
 * Reshape is computed from `after` (an empty slice of its shape, joined to the real one), so that the node waits; it copies nothing.
 *
 * The engine does not know the result's shape unless it is declared, nor that of anything made of it. Values of unknown shape never share a
 * buffer, which keeps memory low, since a shared buffer is held from its first use to its last; but the engine looks through all of them
 * whenever it plans another, so that many take long to compile (four layers of T5-XXL in slices 4 s; declared 0.7 s).
 */
export function waitFor(
  g: Graph,
  x: Value,
  after: Value,
  { isDeclared = false }: { readonly isDeclared?: boolean | undefined } = {},
): Value {
  const nothing = g.node("Shape", [after], [0], { attributes: { start: 0, end: 0 }, dtype: "int64" });
  const shape = g.node("Concat", [nothing, g.integers(x.shape)], [x.shape.length], { attributes: { axis: 0 }, dtype: "int64" });
  const waiting = g.node("Reshape", [x, shape], x.shape, { dtype: x.dtype });
  if (isDeclared) g.declareShape(waiting);
  return waiting;
}

/** ONNX's number of each dtype (TensorProto.DataType). */
export const ONNX_DTYPE: Record<DType, number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
  float8_e4m3fn: 17,
  float8_e4m3fnuz: 18,
  float8_e5m2: 19,
  float8_e5m2fnuz: 20,
};

function broadcast(operator: string, a: Value, b: Value): number[] {
  const rank = Math.max(a.shape.length, b.shape.length);
  return Array.from({ length: rank }, (_, i) => {
    const left = a.shape[a.shape.length - rank + i] ?? 1;
    const right = b.shape[b.shape.length - rank + i] ?? 1;
    expect(left === right || left === 1 || right === 1, `${operator} of [${a.shape}] and [${b.shape}]`);
    return Math.max(left, right);
  });
}

/** A failure here is a defect of a model's code, never of a checkpoint, whose shapes were checked on reading. */
function expect(condition: boolean, what: string): void {
  if (!condition) throw new Error(`graph: shapes do not fit: ${what}`);
}
