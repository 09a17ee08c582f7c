/**
 * The weight of a linear or convolutional layer as float32 values, however the checkpoint stores it: the one place that knows of qtypes.
 *
 * Quantized weights are read in Quanto's own layout, mapped from the file like any other, and unpacked where they are used: no copy in
 * another layout is kept. With the rows of a picture (1,000 and more) unpacking costs 1 to 9 % of the product (13 % for float8), and less
 * memory than any packed product of the engine: bench/lowerings.
 */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, LayerModule, Value } from "../graph/graph.ts";
import {
  bitwiseAnd,
  cast,
  concat,
  dequantizeLinear,
  multiply,
  reshape,
  shiftRight,
  slice,
  subtract,
  waitFor,
  zeroUnless,
} from "../graph/operators.ts";
import { findQType } from "../quant/qtype.ts";
import { layOutWeight, type TensorLayout, type WeightLayout } from "../quant/weight-layout.ts";
import { conversions, weightValue } from "./weight.ts";

/** What a layer says of its weight. */
export type LayerWeightOptions = Pick<LayerModule, "kind" | "shape"> & {
  /** The layer's input: unpacking waits for it. */
  after: Value;
  /** Keeps the stored precision whatever the pipeline's dtype. */
  keepPrecision?: boolean | undefined;
};

/** The weight of the layer at this place of the checkpoint. */
export function layerWeight(g: Graph, weights: Weights, options: LayerWeightOptions): Value {
  return fusedLayerWeight(g, [weights], [options]);
}

/**
 * The weights of several layers with the same input, one below the other: what one wide product takes.
 *
 * Shapes: [out, in] each -> [sum of out, in]. Weights that are stored in the same way are joined as they are stored, before they are widened.
 */
export function fusedLayerWeight(g: Graph, layers: readonly Weights[], options: readonly LayerWeightOptions[]): Value {
  const parts = layers.map((weights, i): Part => ({ weights, ...(options[i] as LayerWeightOptions) }));
  for (const { weights, kind, shape, keepPrecision = false } of parts) g.modules.push({ name: weights.path, kind, shape, keepPrecision });
  const isAlike = new Set(parts.map((part) => storedAs(part))).size === 1;
  const groups = isAlike ? [parts] : parts.map((part) => [part]);
  return join(
    g,
    groups.map((group) => (group[0]?.weights.qtype === undefined ? floatWeight(g, group) : dequantizedWeight(g, group))),
  );
}

type Part = LayerWeightOptions & { readonly weights: Weights };

/** How a weight is stored, as far as joining it with another goes; the engine joins no float8. */
function storedAs({ weights, shape, keepPrecision }: Part): string {
  const dtype = weights.qtype ?? weights.tensor("weight", shape).dtype;
  return dtype.includes("float8") ? weights.path : `${dtype} ${keepPrecision} ${shape.slice(1)}`;
}

function floatWeight(g: Graph, parts: readonly Part[]): Value {
  const [{ after, keepPrecision }] = parts as [Part];
  return weightValue(
    g,
    parts.map(({ weights, shape }) => weights.tensor("weight", shape)),
    { after, keepPrecision },
  );
}

function dequantizedWeight(g: Graph, parts: readonly Part[]): Value {
  const [first] = parts as [Part];
  const qtype = findQType(first.weights.qtype as string);
  const layouts = parts.map(({ weights, shape }) => layOutWeight({ name: `${weights.path}.weight`, shape, dtype: g.dtype, qtype }));
  const stored = (pick: (layout: WeightLayout) => TensorLayout) =>
    layouts.map((layout, i) => {
      const { key, shape } = pick(layout);
      return g.weight((parts[i] as Part).weights.tensor(`weight.${key}`, shape));
    });
  const data = stored((layout) => layout.data).map((value) => waitFor(g, value, first.after));
  const scales = stored((layout) => layout.scale).map((value) => widened(g, value));
  const [layout] = layouts as [WeightLayout];
  const shape = [parts.reduce((sum, part) => sum + (part.shape[0] as number), 0), ...first.shape.slice(1)];
  const rowScale = join(
    g,
    scales.map((scale, i) => reshape(g, scale, scale.shape.length === 0 && parts.length === 1 ? [] : [layouts[i]?.groups as number])),
  );
  if (layout.shift === undefined) {
    const values = dequantizeLinear(g, join(g, data), rowScale);
    // In a row of zeros Quanto divides 0 by 0: float8 stores NaN, and NaN times the scale of 0 would spoil every sum.
    return first.weights.hasZeroScale ? zeroUnless(g, reshape(g, rowScale, perRow(rowScale, shape)), values) : values;
  }
  const codes = data.map((value, i) => unpacked(g, value, layouts[i] as WeightLayout, qtype.bits));
  const shifts = stored((each) => each.shift as TensorLayout).map((value) => widened(g, value));
  if (layout.perColumn) {
    const each = codes.map((value, i) => subtract(g, multiply(g, cast(g, value, "float32"), scales[i] as Value), shifts[i] as Value));
    return reshape(g, join(g, each), shape);
  }
  return reshape(g, subtract(g, dequantizeLinear(g, join(g, codes), rowScale), join(g, shifts)), shape);
}

function perRow(scale: Value, shape: readonly number[]): number[] {
  return scale.shape.length === 0 ? [] : [shape[0] as number, ...shape.slice(1).map(() => 1)];
}

function join(g: Graph, values: readonly Value[]): Value {
  return values.length === 1 ? (values[0] as Value) : concat(g, values, 0);
}

/** One code a byte, of bytes that hold row i in their lowest bits and rows i + R/n, i + 2R/n … in the higher ones. */
function unpacked(g: Graph, data: Value, layout: WeightLayout, bits: 8 | 4 | 2): Value {
  const mask = 2 ** bits - 1;
  const parts = Array.from({ length: 8 / bits }, (_, part) => {
    const shifted = part === 0 ? data : shiftRight(g, data, part * bits);
    // The highest part has nothing above it to mask.
    return part === 8 / bits - 1 ? shifted : bitwiseAnd(g, shifted, mask);
  });
  return slice(g, concat(g, parts, 0), 0, 0, layout.groups);
}

function widened(g: Graph, value: Value): Value {
  return conversions(value.dtype, "float32").reduce((previous, dtype) => cast(g, previous, dtype), value);
}
