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
  firstRows,
  multiply,
  reshape,
  shiftRight,
  subtract,
  waitFor,
  zeroUnless,
} from "../graph/operators.ts";
import { findQType, type QType } from "../quant/qtype.ts";
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
  const { kind, shape, after, keepPrecision = false } = options;
  g.modules.push({ name: weights.path, kind, shape, keepPrecision });
  const { qtype } = weights;
  if (qtype === undefined) return weightValue(g, weights.tensor("weight", shape), { after, keepPrecision });
  return dequantizedWeight(g, weights, shape, findQType(qtype), after);
}

function dequantizedWeight(g: Graph, weights: Weights, shape: readonly number[], qtype: QType, after: Value): Value {
  const layout = layOutWeight({ name: `${weights.path}.weight`, shape, dtype: g.dtype, qtype });
  const stored = (tensor: TensorLayout) => g.weight(weights.tensor(`weight.${tensor.key}`, tensor.shape));
  const data = waitFor(g, stored(layout.data), after);
  const scale = widened(g, stored(layout.scale));
  if (layout.shift === undefined) {
    const values = dequantizeLinear(g, data, reshape(g, scale, layout.scale.shape.length === 0 ? [] : [layout.groups]));
    // In a row of zeros Quanto divides 0 by 0: float8 stores NaN, and NaN times the scale of 0 would spoil every sum.
    return weights.hasZeroScale ? zeroUnless(g, scale, values) : values;
  }
  const codes = unpacked(g, data, layout, qtype.bits);
  const shift = widened(g, stored(layout.shift));
  const scaled = layout.perColumn
    ? multiply(g, cast(g, codes, "float32"), scale)
    : dequantizeLinear(g, codes, reshape(g, scale, [layout.groups]));
  return reshape(g, subtract(g, scaled, shift), shape);
}

/** One code a byte, of bytes that hold row i in their lowest bits and rows i + R/n, i + 2R/n … in the higher ones. */
function unpacked(g: Graph, data: Value, layout: WeightLayout, bits: 8 | 4 | 2): Value {
  const mask = 2 ** bits - 1;
  const parts = Array.from({ length: 8 / bits }, (_, part) => {
    const shifted = part === 0 ? data : shiftRight(g, data, part * bits);
    // The highest part has nothing above it to mask.
    return part === 8 / bits - 1 ? shifted : bitwiseAnd(g, shifted, mask);
  });
  return firstRows(g, concat(g, parts, 0), layout.groups);
}

function widened(g: Graph, value: Value): Value {
  return conversions(value.dtype, "float32").reduce((previous, dtype) => cast(g, previous, dtype), value);
}
