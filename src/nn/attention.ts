/** The attention layer of diffusers (models/attention_processor.py Attention): projections, heads, output projection. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { multiHeadAttention } from "../graph/operators.ts";
import { fusedLinear, linear } from "./linear.ts";

/** Shape of an attention layer. */
export interface AttentionOptions {
  heads: number;
  headDim: number;
  /** Whether to_q, to_k and to_v have a bias; to_out always has one. */
  bias: boolean;
  /** Where keys and values come from; default: the queries' own sequence. */
  context?: Value;
  /** int32 [batch, keys]: 0 adds -10000 to the scores of a key. */
  keyMask?: Value;
}

/**
 * Shapes: x [batch, queries, width], context [batch, keys, contextWidth] -> [batch, queries, width].
 * Source: diffusers attention_processor.py@0.42.1 AttnProcessor2_0.
 */
export function attention(g: Graph, weights: Weights, x: Value, options: AttentionOptions): Value {
  const inner = options.heads * options.headDim;
  const context = options.context ?? x;
  const [query, key, value] = projections(g, weights, x, context, { out: inner, bias: options.bias });
  const scale = 1 / Math.sqrt(options.headDim);
  const mixed = multiHeadAttention(g, query, key, value, { heads: options.heads, scale, keyMask: options.keyMask });
  return linear(g, weights.at("to_out", 0), mixed, { out: x.shape.at(-1) as number });
}

/** Queries, keys and values; one product for all three, or for keys and values of another sequence, where the part has been told to fuse them. */
function projections(g: Graph, weights: Weights, x: Value, context: Value, options: { out: number; bias: boolean }): [Value, Value, Value] {
  if (context === x) return queryKeyValue(g, weights, ["to_q", "to_k", "to_v"], x, options);
  const [toQ, toK, toV] = [weights.at("to_q"), weights.at("to_k"), weights.at("to_v")];
  const query = linear(g, toQ, x, options);
  if (!weights.fusesQkv) return [query, linear(g, toK, context, options), linear(g, toV, context, options)];
  return [query, ...(fusedLinear(g, [toK, toV], context, options) as [Value, Value])];
}

/**
 * Queries, keys and values of one sequence, by layers of these names: one product where the part has been told to fuse them.
 *
 * Shapes: x [batch, tokens, width] -> three of [batch, tokens, out].
 */
export function queryKeyValue(
  g: Graph,
  weights: Weights,
  names: readonly [string, string, string],
  x: Value,
  options: { out: number; bias: boolean },
): [Value, Value, Value] {
  const layers = names.map((name) => weights.at(name));
  const values = weights.fusesQkv ? fusedLinear(g, layers, x, options) : layers.map((layer) => linear(g, layer, x, options));
  return values as [Value, Value, Value];
}
