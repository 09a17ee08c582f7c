/**
 * The weight of a linear or convolutional layer as float32 values, however the checkpoint stores it.
 *
 * Quantized weights are read in Quanto's own layout, mapped from the file like any other, and unpacked where they are used (dequantize.ts):
 * no copy in another layout is kept. With the rows of a picture (1,000 and more) unpacking a whole weight costs 1 to 9 % of the product, and
 * less memory than any packed product of the engine: bench/lowerings. For few rows see sliced-product.ts.
 */
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, LayerModule, Value } from "../graph/graph.ts";
import { findQType } from "../quant/qtype.ts";
import { layOutWeight, type TensorLayout } from "../quant/weight-layout.ts";
import { dequantize, join, type StoredCodes } from "./dequantize.ts";
import { weightValue } from "./weight.ts";

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
  for (const { weights, ...part } of parts) noteModule(g, weights, part);
  const isAlike = new Set(parts.map((part) => storedAs(part))).size === 1;
  const groups = isAlike ? [parts] : parts.map((part) => [part]);
  return join(
    g,
    groups.map((group) => (group[0]?.weights.qtype === undefined ? floatWeight(g, group) : dequantizedWeight(g, group))),
  );
}

/** Lists a layer among those that quantization may replace; one that is applied to its input piece by piece is still one. */
export function noteModule(g: Graph, weights: Weights, { kind, shape, keepPrecision = false }: LayerWeightOptions): void {
  if (g.modules.some(({ name }) => name === weights.path)) return;
  g.modules.push({ name: weights.path, kind, shape, keepPrecision });
}

/** The tensors that stand for the quantized weight at this place. */
export function storedCodes(g: Graph, weights: Weights, shape: readonly number[]): StoredCodes {
  const qtype = findQType(weights.qtype as string);
  const layout = layOutWeight({ name: `${weights.path}.weight`, shape, dtype: g.dtype, qtype });
  const stored = (tensor: TensorLayout): StoredTensor => weights.tensor(`weight.${tensor.key}`, tensor.shape);
  return {
    layout,
    data: stored(layout.data),
    scale: [stored(layout.scale)],
    shift: layout.shift === undefined ? [] : [stored(layout.shift)],
    hasZeroScale: weights.hasZeroScale,
  };
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
  const [{ after }] = parts as [Part];
  return dequantize(
    g,
    parts.map(({ weights, shape }) => storedCodes(g, weights, shape)),
    after,
  );
}
