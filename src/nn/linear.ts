/** The affine layer, torch's nn.Linear: the layer that quantization replaces. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { add, gelu, matMulTransposed, split } from "../graph/operators.ts";
import { type FinishProduct, integerLinear, isIntegerProduct } from "./integer-product.ts";
import { fusedLayerWeight, layerWeight } from "./layer-weight.ts";
import { isSliced, slicedProduct } from "./sliced-product.ts";
import { weightValue } from "./weight.ts";

/** Shape and precision of a linear layer. */
export interface LinearOptions {
  /** Width of the output. */
  out: number;
  /** Default true. */
  bias?: boolean;
  /** Keeps the stored precision whatever the pipeline's dtype. */
  keepPrecision?: boolean;
  /** GELU by tanh of the result. Default: none. */
  gelu?: boolean;
  /** Never rounds its inputs, even in a fast run: rounding would cost more than such layers take time. */
  faithful?: boolean;
  /** Its inputs reach further up than down, as after GELU: a fast run rounds them accordingly. */
  oneSided?: boolean;
}

/**
 * x times the transposed weight, plus the bias, and the activation if one is asked for.
 *
 * Shapes: x [..., in], weight [out, in], bias [out] -> [..., out].
 */
export function linear(g: Graph, weights: Weights, x: Value, options: LinearOptions): Value {
  const shape = [options.out, x.shape.at(-1) as number];
  const asked = { kind: "linear", shape, after: x, keepPrecision: options.keepPrecision } as const;
  const bias = options.bias === false ? undefined : weights.tensor("bias", [options.out]);
  const finish: FinishProduct = (product, columnBias) => {
    const sum = columnBias === undefined ? product : add(g, product, weightValue(g, columnBias, { after: x }));
    // FastGelu, which takes the bias along, makes a step 1 % faster, and takes scratch memory as large as its result.
    return options.gelu === true ? gelu(g, sum, "tanh") : sum;
  };
  const fast = options.faithful === true ? undefined : integerLinear(g, weights, x, { ...asked, bias, finish, oneSided: options.oneSided });
  if (fast !== undefined) return fast;
  return finish(slicedProduct(g, weights, x, asked) ?? matMulTransposed(g, x, layerWeight(g, weights, asked)), bias);
}

/**
 * Several layers of the same input as one wide product, split again: the same numbers with fewer, larger products. (Where each is cut into
 * slices, or in integers, where they share the rounded input anyway, there is nothing to gain.)
 *
 * Shapes: x [..., in] -> [..., out] for each of `layers`.
 */
export function fusedLinear(g: Graph, layers: readonly Weights[], x: Value, options: { out: number; bias: boolean }): Value[] {
  const shape = [options.out, x.shape.at(-1) as number];
  if (isSliced(x, shape) || layers.some((weights) => isIntegerProduct(weights, x)))
    return layers.map((weights) => linear(g, weights, x, options));
  const weight = fusedLayerWeight(
    g,
    layers,
    layers.map(() => ({ kind: "linear", shape, after: x })),
  );
  const product = matMulTransposed(g, x, weight);
  const biases = layers
    .map((weights) => (options.bias ? weights.tensor("bias", [options.out]) : undefined))
    .filter((bias) => bias !== undefined);
  const result = biases.length === 0 ? product : add(g, product, weightValue(g, biases, { after: x }));
  return split(g, result, layers.length, result.shape.length - 1);
}
