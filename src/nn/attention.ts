/** The attention layer of diffusers (models/attention_processor.py Attention): projections, heads, output projection. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { concat, multiHeadAttention, reshape, slice } from "../graph/operators.ts";
import { inPieces } from "./in-pieces.ts";
import { fusedLinear, linear } from "./linear.ts";

/** Shape of any attention layer. */
interface HeadOptions {
  heads: number;
  headDim: number;
  /** Whether the projections to queries, keys and values have a bias. */
  bias: boolean;
  /** Whether those of the result have one; default true. */
  outBias?: boolean;
  /** Norm of each head's queries and keys, [..., headDim]; without it they stay as they are. */
  qkNorm?: ((g: Graph, weights: Weights, x: Value) => Value) | undefined;
}

/** Shape of an attention layer. */
export interface AttentionOptions extends HeadOptions {
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
  const [query, key, value] = headInputs(g, weights, x, options.context ?? x, OWN, options);
  const { heads, headDim, keyMask } = options;
  const mix = (queries: Value) => multiHeadAttention(g, queries, key, value, { heads, scale: 1 / Math.sqrt(headDim), keyMask });
  // With a mask the engine writes out the scores of all keys.
  const mixed = keyMask === undefined ? mix(query) : inPieces(g, query, heads * (key.shape[1] as number), mix);
  return linear(g, weights.at("to_out", 0), mixed, { out: x.shape.at(-1) as number, bias: options.outBias !== false });
}

/** Shape of a joint attention layer. */
export interface JointAttentionOptions extends HeadOptions {
  /** The context is read but gets no result: the layer has no to_add_out. */
  contextPreOnly?: boolean;
  /** Whether the context stands before x in the sequence of both; default false. It decides nothing but in which order sums are taken. */
  contextFirst?: boolean;
}

/**
 * One attention over a sequence and its context, each with projections of its own.
 *
 * Shapes: x [batch, tokens, width], context [batch, contextTokens, width] -> both again.
 * Source: diffusers attention_processor.py@0.42.1 JointAttnProcessor2_0 and, with the context first, AuraFlowAttnProcessor2_0. Fused projections
 * too: diffusers' FusedJointAttnProcessor2_0 leaves out the norms of queries and keys.
 */
export function jointAttention(
  g: Graph,
  weights: Weights,
  x: Value,
  context: Value,
  options: JointAttentionOptions,
): { x: Value; context: Value | undefined } {
  const own = headInputs(g, weights, x, x, OWN, options);
  const added = headInputs(g, weights, context, context, ADDED, options);
  const both = own.map((each, i) => concat(g, options.contextFirst ? [added[i] as Value, each] : [each, added[i] as Value], 1));
  const [query, key, value] = both as [Value, Value, Value];
  const mixed = multiHeadAttention(g, query, key, value, { heads: options.heads, scale: 1 / Math.sqrt(options.headDim) });
  const [tokens, contextTokens] = [x.shape[1] as number, context.shape[1] as number];
  const [start, contextStart] = options.contextFirst ? [contextTokens, 0] : [0, tokens];
  const bias = options.outBias !== false;
  return {
    x: linear(g, weights.at("to_out", 0), slice(g, mixed, 1, start, start + tokens), { out: x.shape.at(-1) as number, bias }),
    context: options.contextPreOnly
      ? undefined
      : linear(g, weights.at("to_add_out"), slice(g, mixed, 1, contextStart, contextStart + contextTokens), {
          out: context.shape.at(-1) as number,
          bias,
        }),
  };
}

/** Names of the projections to queries, keys and values, and of the norms of the first two. */
interface HeadNames {
  projections: readonly [string, string, string];
  norms: readonly [string, string];
}
const OWN: HeadNames = { projections: ["to_q", "to_k", "to_v"], norms: ["norm_q", "norm_k"] };
const ADDED: HeadNames = { projections: ["add_q_proj", "add_k_proj", "add_v_proj"], norms: ["norm_added_q", "norm_added_k"] };

/** Queries, keys and values [batch, tokens, heads * headDim], normalised where the layer does that. */
function headInputs(g: Graph, weights: Weights, x: Value, context: Value, names: HeadNames, options: HeadOptions): [Value, Value, Value] {
  const { heads, headDim, bias, qkNorm } = options;
  const layers = names.projections.map((name) => weights.at(name)) as [Weights, Weights, Weights];
  const [query, key, value] = projections(g, layers, x, context, { out: heads * headDim, bias });
  if (qkNorm === undefined) return [query, key, value];
  const perHead = (name: string, each: Value) => {
    const [batch, tokens] = each.shape as [number, number];
    return reshape(g, qkNorm(g, weights.at(name), reshape(g, each, [batch, tokens, heads, headDim])), each.shape);
  };
  return [perHead(names.norms[0], query), perHead(names.norms[1], key), value];
}

/** One product for all three, or for keys and values of another sequence, where the part has been told to fuse them. */
function projections(
  g: Graph,
  layers: readonly [Weights, Weights, Weights],
  x: Value,
  context: Value,
  options: { out: number; bias: boolean },
): [Value, Value, Value] {
  const [toQ, toK, toV] = layers;
  if (!toQ.fusesQkv) return [linear(g, toQ, x, options), linear(g, toK, context, options), linear(g, toV, context, options)];
  if (context === x) return fusedLinear(g, layers, x, options) as [Value, Value, Value];
  return [linear(g, toQ, x, options), ...(fusedLinear(g, [toK, toV], context, options) as [Value, Value])];
}
