/**
 * The product of `--fast`: qint8 codes are multiplied as the integers that they are, by inputs that are rounded to 8 bits for it.
 *
 * Each row of the input (a token) is divided by its largest magnitude before all are rounded with one scale, and the product multiplied by it
 * again: a scale a token, which the engine's operators do not offer. It takes 5 % of a PixArt-Σ step longer than one scale for all tokens and
 * is 6 dB nearer to the faithful picture; docs/quantization.md has the table, and says which layers stay faithful and why.
 */
import { rowsOf, type StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { IntegerProducts, Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import {
  abs,
  bitwiseXor,
  concat,
  divide,
  dynamicQuantizeLinear,
  matMulIntegers,
  maximum,
  maxOfRows,
  multiply,
  type QuantizedValue,
  reshape,
  transpose,
  waitFor,
} from "../graph/operators.ts";
import { elementCount } from "../tensor/tensor.ts";
import { joinStored, type StoredCodes } from "./dequantize.ts";
import { type LayerWeightOptions, noteModule, storedCodes } from "./layer-weight.ts";

/** With fewer rows unpacking is the cost, which slices save. */
const LEAST_ROWS = 16;
/**
 * Bytes of the result that are made at a time. The engine goes over a result several times while it adds up; with 38 MB, which no cache holds,
 * a product runs at 600 billion operations a second instead of 1,200 (2048 x 1152 x 4608, 2 cores of a Zen 5 with 32 MB of cache).
 */
const RESULT_BYTES = 10e6;
/** Keeps rows of zeros from being divided by zero. */
const LEAST_SCALE = 1e-30;
const SIGN_BIT = 128;

/** Rows of 8-bit codes, and what each row's values have to be multiplied by beside the scale of all. */
interface QuantizedRows extends QuantizedValue {
  /** float32 [..., 1] */
  readonly rowScale: Value;
}

/** Inputs that have been quantized for one layer and serve the next: queries, keys and values read the same. */
const quantizedRows = new WeakMap<Graph, Map<string, QuantizedRows>>();

/** Adds the bias to some of a layer's outputs, and whatever else comes after the product. */
export type FinishProduct = (product: Value, bias: StoredTensor | undefined) => Value;

/** Whether a layer that may be is calculated in integers. */
export function isIntegerProduct(weights: Weights, x: Value): boolean {
  const rows = elementCount(x.shape) / (x.shape.at(-1) as number);
  return weights.integerProducts !== undefined && weights.qtype === "qint8" && rows >= LEAST_ROWS;
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
  options: LayerWeightOptions & { bias: StoredTensor | undefined; finish: FinishProduct },
): Value | undefined {
  const { shape, bias, finish } = options;
  const [out, inFeatures] = shape as [number, number];
  const rows = elementCount(x.shape) / inFeatures;
  const kind = weights.integerProducts;
  if (kind === undefined || !isIntegerProduct(weights, x)) return undefined;
  noteModule(g, weights, options);
  const codes = storedCodes(g, weights, shape);
  const input = quantizeRows(g, x);
  const pieces = columnPieces(rows, out).map(({ first, count }) => {
    const cut = (tensor: StoredTensor) => (count === out ? tensor : rowsOf(tensor, first, count));
    const product = productOf(g, input, { ...codes, data: cut(codes.data), scale: codes.scale.map(cut) }, kind, x);
    return finish(multiply(g, product, input.rowScale), bias && cut(bias));
  });
  return pieces.length === 1 ? (pieces[0] as Value) : concat(g, pieces, x.shape.length - 1);
}

/** Equal runs of outputs whose results are small enough, in multiples of 16. */
function columnPieces(rows: number, out: number): { first: number; count: number }[] {
  const pieces = Math.ceil((4 * rows * out) / RESULT_BYTES);
  const most = Math.min(out, 16 * Math.ceil(out / pieces / 16));
  return Array.from({ length: Math.ceil(out / most) }, (_, i) => ({ first: i * most, count: Math.min(most, out - i * most) }));
}

/** Each row divided by its largest magnitude, then all rounded to 8 bits with one scale, which is near 1/127. */
function quantizeRows(g: Graph, x: Value): QuantizedRows {
  const known = quantizedRows.get(g) ?? new Map<string, QuantizedRows>();
  quantizedRows.set(g, known);
  const found = known.get(x.name);
  if (found !== undefined) return found;
  const rowScale = maximum(g, maxOfRows(g, abs(g, x)), g.floats([LEAST_SCALE]));
  const made = { ...dynamicQuantizeLinear(g, divide(g, x, rowScale)), rowScale };
  known.set(x.name, made);
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
