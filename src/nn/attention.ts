/** The attention layer of diffusers (models/attention_processor.py Attention): projections, heads, output projection. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { multiHeadAttention } from "../graph/operators.ts";
import { linear } from "./linear.ts";

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
  const query = linear(g, weights.at("to_q"), x, { out: inner, bias: options.bias });
  const key = linear(g, weights.at("to_k"), context, { out: inner, bias: options.bias });
  const value = linear(g, weights.at("to_v"), context, { out: inner, bias: options.bias });
  const scale = 1 / Math.sqrt(options.headDim);
  const mixed = multiHeadAttention(g, query, key, value, { heads: options.heads, scale, keyMask: options.keyMask });
  return linear(g, weights.at("to_out", 0), mixed, { out: x.shape.at(-1) as number });
}
