/** Normalisation layers, by torch's names. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import {
  add,
  batchNormalization,
  instanceNormalization,
  layerNormalization,
  multiply,
  reshape,
  rmsNormalization,
  split,
} from "../graph/operators.ts";
import { elementCount } from "../tensor/tensor.ts";
import { linear } from "./linear.ts";
import { weightValue } from "./weight.ts";

/** LayerNorm over the last axis; `weights` is undefined for elementwise_affine=False. */
export function layerNorm(g: Graph, weights: Weights | undefined, x: Value, epsilon: number): Value {
  const width = x.shape.at(-1) as number;
  if (weights === undefined) return layerNormalization(g, x, g.floats(new Float32Array(width).fill(1)), undefined, epsilon);
  const scale = weightValue(g, weights.tensor("weight", [width]), { after: x });
  const bias = weights.has("bias") ? weightValue(g, weights.tensor("bias", [width]), { after: x }) : undefined;
  return layerNormalization(g, x, scale, bias, epsilon);
}

/** RMSNorm over the last axis (T5LayerNorm): no mean, no bias. */
export function rmsNorm(g: Graph, weights: Weights, x: Value, epsilon: number): Value {
  const scale = weightValue(g, weights.tensor("weight", [x.shape.at(-1) as number]), { after: x });
  return rmsNormalization(g, x, scale, epsilon);
}

/**
 * LayerNorm whose values are scaled by 1 + scale and shifted (adaptive layer norm); `weights` as of layerNorm.
 *
 * Shapes: x [batch, tokens, width], scale and shift [batch or 1, 1, width]. With the same vectors for all pictures they are the norm's own
 * weights, and take no pass over the values of their own.
 */
export function modulatedLayerNorm(
  g: Graph,
  weights: Weights | undefined,
  x: Value,
  epsilon: number,
  { scale, shift }: { scale: Value; shift: Value },
): Value {
  const width = x.shape.at(-1) as number;
  if (weights !== undefined || elementCount(scale.shape) !== width) return modulate(g, layerNorm(g, weights, x, epsilon), scale, shift);
  return layerNormalization(g, x, reshape(g, onePlus(g, scale), [width]), reshape(g, shift, [width]), epsilon);
}

/** Scales values by 1 + scale and shifts them; shapes as of modulatedLayerNorm. */
export function modulate(g: Graph, x: Value, scale: Value, shift: Value): Value {
  return add(g, multiply(g, x, onePlus(g, scale)), shift);
}

function onePlus(g: Graph, scale: Value): Value {
  return add(g, scale, g.floats([1]));
}

/**
 * The vectors of an adaptive layer norm: one wide product of the condition, cut into shifts, scales and gates in the class's own order.
 *
 * Shapes: condition (after SiLU) [batch, width] -> count times [batch, 1, width].
 * Source: diffusers models/normalization.py@0.42.1 AdaLayerNormZero (6), SD35AdaLayerNormZeroX (9), AdaLayerNormContinuous (2).
 */
export function adaptiveVectors(g: Graph, weights: Weights, condition: Value, count: number, bias = true): Value[] {
  const [batch, width] = condition.shape as [number, number];
  const vectors = linear(g, weights.at("linear"), condition, { out: count * width, bias, faithful: true });
  return split(g, reshape(g, vectors, [batch, count, width]), count, 1);
}

/** What a group norm divides by, where it is known before the norm sees its input; every channel has its group's values. */
export interface GroupStatisticsValues {
  /** [channels] */
  readonly mean: Value;
  /** [channels], biased as in torch. */
  readonly variance: Value;
}

/** How a group norm is calculated. */
export interface GroupNormOptions {
  groups: number;
  epsilon: number;
  /** Of the whole picture, where x is only a part of it; default: those of x. */
  statistics?: GroupStatisticsValues | undefined;
}

/**
 * GroupNorm with affine weights.
 *
 * Shapes: x [batch, channels, height, width]; `groups` divides channels.
 */
export function groupNorm(g: Graph, weights: Weights, x: Value, options: GroupNormOptions): Value {
  const [batch, channels] = x.shape as [number, number];
  const { groups, epsilon, statistics } = options;
  const affine = (name: string) => weightValue(g, weights.tensor(name, [channels]), { after: x });
  if (statistics !== undefined) return batchNormalization(g, x, { scale: affine("weight"), bias: affine("bias"), epsilon, ...statistics });
  const elements = x.shape.slice(1).reduce((product, dim) => product * dim, 1);
  const ones = g.floats(new Float32Array(groups).fill(1));
  const zeros = g.floats(new Float32Array(groups));
  const grouped = reshape(g, x, [batch, groups, elements / groups]);
  const normalised = reshape(g, instanceNormalization(g, grouped, ones, zeros, epsilon), x.shape);
  const perChannel = [channels, ...x.shape.slice(2).map(() => 1)];
  const scale = reshape(g, affine("weight"), perChannel);
  const bias = reshape(g, affine("bias"), perChannel);
  return add(g, multiply(g, normalised, scale), bias);
}
