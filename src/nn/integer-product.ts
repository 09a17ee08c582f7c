/**
 * The product of `--fast`: qint8 codes are multiplied as the integers that they are, by inputs that are rounded to 8 bits for it.
 *
 * Each row of the input (a token) is divided by a step of its own before it is rounded, and the product multiplied by it again: a scale a token,
 * which the engine's operators do not offer. So no row has a say in another's result. docs/quantization.md compares other ways, and says which
 * layers stay faithful and why.
 */
import { rowsOf, type StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { IntegerProducts, Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import {
  bitwiseXor,
  concat,
  divide,
  matMulIntegers,
  maximum,
  maxOfRows,
  minOfRows,
  multiply,
  type QuantizedValue,
  reshape,
  roundToBytes,
  transpose,
  waitFor,
} from "../graph/operators.ts";
import { elementCount } from "../tensor/tensor.ts";
import { joinStored, type StoredCodes } from "./dequantize.ts";
import { type LayerWeightOptions, noteModule, storedCodes } from "./layer-weight.ts";

/** Of a picture or a text: with fewer unpacking is the cost, which slices save. How many of them a call holds must decide nothing. */
const LEAST_ROWS = 8;
/**
 * Bytes of the result that are made at a time. The engine goes over a result several times while it adds up; with 38 MB, which no cache holds,
 * a product runs at 600 billion operations a second instead of 1,200 (2048 x 1152 x 4608, 2 cores of a Zen 5 with 32 MB of cache).
 */
const RESULT_BYTES = 10e6;
/** Keeps rows of zeros from being divided by zero. */
const LEAST_STEP = 1e-30;
const SIGN_BIT = 128;
/** Steps below 0, of the 255 that a row has. */
const STEPS_BELOW = 128;
/** Where rows reach further up than down: nearest to the faithful result among 16, 32, 48 and 64 (docs/quantization.md). */
const STEPS_BELOW_ONE_SIDED = 32;

/** Rows in whole steps, and how large each row's steps are. */
interface QuantizedRows extends QuantizedValue {
  /** float32 [..., 1] */
  readonly step: Value;
}

/** Inputs that have been quantized for one layer and serve the next: queries, keys and values read the same. */
const quantizedRows = new WeakMap<Graph, Map<string, QuantizedRows>>();

/** Adds the bias to some of a layer's outputs, and whatever else comes after the product. */
export type FinishProduct = (product: Value, bias: StoredTensor | undefined) => Value;

/** Whether a layer that may be is calculated in integers. */
export function isIntegerProduct(weights: Weights, x: Value): boolean {
  return weights.integerProducts !== undefined && weights.qtype === "qint8" && (x.shape.at(-2) as number) >= LEAST_ROWS;
}

/**
 * x times the transpose of a layer's weight, finished, calculated in 8-bit integers; undefined where that is not asked for or not worth it:
 * weights of another qtype, few rows.
 *
 * Shapes: x [..., in], weight [out, in], bias [out] -> [..., out].
 */
export function integerLinear(
  g: Graph,
  weights: Weights,
  x: Value,
  options: LayerWeightOptions & { bias: StoredTensor | undefined; finish: FinishProduct; oneSided?: boolean | undefined },
): Value | undefined {
  const { shape, bias, finish } = options;
  const [out, inFeatures] = shape as [number, number];
  const rows = elementCount(x.shape) / inFeatures;
  const kind = weights.integerProducts;
  if (kind === undefined || !isIntegerProduct(weights, x)) return undefined;
  noteModule(g, weights, options);
  const codes = storedCodes(g, weights, shape);
  const input = quantizeRows(g, x, options.oneSided === true ? STEPS_BELOW_ONE_SIDED : STEPS_BELOW);
  const pieces = columnPieces(rows, out).map(({ first, count }) => {
    const cut = (tensor: StoredTensor) => (count === out ? tensor : rowsOf(tensor, first, count));
    const product = productOf(g, input, { ...codes, data: cut(codes.data), scale: codes.scale.map(cut) }, kind, x);
    return finish(multiply(g, product, input.step), bias && cut(bias));
  });
  return pieces.length === 1 ? (pieces[0] as Value) : concat(g, pieces, x.shape.length - 1);
}

/** Equal runs of outputs whose results are small enough, in multiples of 16. */
function columnPieces(rows: number, out: number): { first: number; count: number }[] {
  const pieces = Math.ceil((4 * rows * out) / RESULT_BYTES);
  const most = Math.min(out, 16 * Math.ceil(out / pieces / 16));
  return Array.from({ length: Math.ceil(out / most) }, (_, i) => ({ first: i * most, count: Math.min(most, out - i * most) }));
}

/** Each row in the smallest steps of which no more than so many reach down to its lowest value, and the rest of 255 up to its highest. */
function quantizeRows(g: Graph, x: Value, stepsBelow: number): QuantizedRows {
  const known = quantizedRows.get(g) ?? new Map<string, QuantizedRows>();
  quantizedRows.set(g, known);
  const key = `${x.name} ${stepsBelow}`;
  const found = known.get(key);
  if (found !== undefined) return found;
  const up = multiply(g, maxOfRows(g, x), g.floats([1 / (255 - stepsBelow)]));
  const down = multiply(g, minOfRows(g, x), g.floats([-1 / stepsBelow]));
  const step = maximum(g, maximum(g, up, down), g.floats([LEAST_STEP]));
  const made = { ...roundToBytes(g, divide(g, x, step), stepsBelow), step };
  known.set(key, made);
  return made;
}

/** The engine wants weights as [in, out]: turning the codes costs 1 to 5 % of the product. */
function productOf(g: Graph, input: QuantizedValue, { data, scale }: StoredCodes, kind: IntegerProducts, after: Value): Value {
  const columns = (codes: Value) => transpose(g, codes, [1, 0]);
  const columnScale = reshape(g, joinStored(g, scale), [data.shape[0] as number]);
  if (kind === "signed") {
    return matMulIntegers(g, input, { codes: columns(waitFor(g, g.weight(data), after)), scale: columnScale });
  }
  // Turning the sign bit over adds 128 to a code; as zero point it is taken off again, from the integers, exactly.
  const bytes = bitwiseXor(g, waitFor(g, g.weight({ ...data, dtype: "uint8" }), after), SIGN_BIT);
  return matMulIntegers(g, input, { codes: columns(bytes), scale: columnScale, zeroPoint: g.byte(SIGN_BIT) });
}
