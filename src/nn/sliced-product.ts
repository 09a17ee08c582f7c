/**
 * The product of few rows with a large weight that has to be unpacked: slice by slice, so that what is unpacked fits the processor's cache
 * and is gone before the next slice comes.
 *
 * Unpacking a weight costs the same for one row as for a thousand, so with few rows it *is* the cost: of a timestep's modulation, of a text
 * encoder. Measured in bench/lowerings, docs/quantization.md has the table.
 */
import { rowsOf, type StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { concat, matMulTransposed, split } from "../graph/operators.ts";
import { codesPerByte } from "../quant/pack.ts";
import { elementCount } from "../tensor/tensor.ts";
import { dequantizeSlice, type StoredCodes } from "./dequantize.ts";
import { type LayerWeightOptions, noteModule, storedCodes } from "./layer-weight.ts";
import { conversions, weightValue } from "./weight.ts";

/**
 * Beyond so many rows joining the pieces of the result costs more than the cache saves: at 600 the times were even when both were tried, and
 * memory is saved, at 1,024 slices took 15 % longer.
 */
const FEW_ROWS = 640;
/** Weights beyond which a product is sliced: 8 MiB of float32. */
const LARGE_WEIGHT = 2 ** 21;

/** Consecutive rows of a weight, or of each of the parts that share its bytes. */
interface Slice {
  readonly first: number;
  readonly rows: number;
}

/** Weights of a slice: as many as the cache holds beside the rows; fewer slices take less time to compile. */
function sliceWeights(x: Value, shape: readonly number[]): number {
  return rowsFor(x, shape) <= 128 ? 2 ** 21 : 2 ** 20;
}

function rowsFor(x: Value, shape: readonly number[]): number {
  return elementCount(x.shape) / (shape[1] as number);
}

/** Whether a product has few rows and a large weight. */
export function isSliced(x: Value, shape: readonly number[]): boolean {
  return rowsFor(x, shape) <= FEW_ROWS && elementCount(shape) > LARGE_WEIGHT;
}

/**
 * x times the transpose of a layer's weight, or undefined where slices bring nothing: many rows, a small weight, one that needs no unpacking.
 *
 * Shapes: x [..., in], weight [out, in] -> [..., out].
 */
export function slicedProduct(g: Graph, weights: Weights, x: Value, options: LayerWeightOptions): Value | undefined {
  const { shape } = options;
  if (!isSliced(x, shape)) return undefined;
  if (weights.qtype === undefined) return floatProduct(g, weights, x, options);
  const codes = storedCodes(g, weights, shape);
  const lanes = codesPerByte(codes.layout.qtype.bits);
  if ((shape[0] as number) % lanes !== 0) return undefined;
  noteModule(g, weights, options);
  return productOfSlices(g, x, shape, lanes, (slice, after) => dequantizeSlice(g, sliceOf(codes, slice), after));
}

function floatProduct(g: Graph, weights: Weights, x: Value, options: LayerWeightOptions): Value | undefined {
  const { shape, keepPrecision } = options;
  const stored = weights.tensor("weight", shape);
  if (conversions(stored.dtype, keepPrecision ? "float32" : g.dtype).length === 0) return undefined;
  noteModule(g, weights, options);
  return productOfSlices(g, x, shape, 1, ({ first, rows }, after) =>
    weightValue(g, rowsOf(stored, first, rows), { after, keepPrecision, isDeclared: true }),
  );
}

/**
 * Multiplies slice by slice, each unpacked when the product of the one before is there.
 *
 * 4 and 2 bits: byte row i holds output i and, in its higher bits, outputs i + out/2 (or i + out/4 …): `lanes` runs of outputs.
 */
function productOfSlices(
  g: Graph,
  x: Value,
  shape: readonly number[],
  lanes: number,
  unpack: (slice: Slice, after: Value) => Value,
): Value {
  const perLane = (shape[0] as number) / lanes;
  const count = Math.ceil(elementCount(shape) / sliceWeights(x, shape));
  const rows = Math.ceil(perLane / count);
  const axis = x.shape.length - 1;
  const runs: Value[][] = Array.from({ length: lanes }, () => []);
  let after = x;
  for (let first = 0; first < perLane; first += rows) {
    const product = matMulTransposed(g, x, unpack({ first, rows: Math.min(rows, perLane - first) }, after));
    const pieces = lanes === 1 ? [product] : split(g, product, lanes, axis);
    for (const [lane, piece] of pieces.entries()) runs[lane]?.push(piece);
    after = product;
  }
  return concat(g, runs.flat(), axis);
}

/** Rows of a quantized weight as a quantized weight of their own. */
function sliceOf({ layout, data, scale, shift, hasZeroScale }: StoredCodes, { first, rows }: Slice): StoredCodes {
  const [out, inFeatures] = layout.shape as [number, number];
  const lanes = codesPerByte(layout.qtype.bits);
  const groupsPerRow = layout.groups / out;
  const ofLanes = ([whole]: readonly StoredTensor[]) =>
    whole === undefined
      ? []
      : Array.from({ length: lanes }, (_, lane) => rowsOf(whole, (lane * (out / lanes) + first) * groupsPerRow, rows * groupsPerRow));
  return {
    layout: { ...layout, shape: [lanes * rows, inFeatures], groups: lanes * rows * groupsPerRow },
    data: rowsOf(data, first * groupsPerRow, rows * groupsPerRow),
    scale: ofLanes(scale),
    shift: ofLanes(shift),
    hasZeroScale,
  };
}
