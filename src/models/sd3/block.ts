/**
 * One block of Stable Diffusion 3: image and text attend to each other, then each passes its own feed-forward; all modulated by the condition.
 *
 * Source: diffusers models/attention.py@0.42.1 JointTransformerBlock. The last block only reads the text (context_pre_only). Blocks with dual
 * attention (3.5 medium) let the image also attend to itself alone.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, multiply } from "../../graph/operators.ts";
import { attention, jointAttention } from "../../nn/attention.ts";
import { feedForward } from "../../nn/feed-forward.ts";
import { adaptiveVectors, modulatedLayerNorm, rmsNorm } from "../../nn/norm.ts";
import type { SD3Config } from "./config.ts";

/** Of every norm of this model. */
const EPSILON = 1e-6;

/** The two sequences that pass through the blocks. */
export interface Streams {
  /** The picture's patches [batch, patches, width]. */
  hidden: Value;
  /** The text's tokens [batch, textTokens, width]. */
  context: Value;
}

/** Shapes: condition [batch, width], after SiLU. The last block returns no context. */
export function sd3Block(
  g: Graph,
  weights: Weights,
  config: SD3Config,
  index: number,
  streams: Streams,
  condition: Value,
): { hidden: Value; context?: Value } {
  const isDual = config.dual_attention_layers.includes(index);
  const contextPreOnly = index === config.num_layers - 1;
  const shape = {
    heads: config.num_attention_heads,
    headDim: config.attention_head_dim,
    bias: true,
    qkNorm: config.qk_norm == null ? undefined : qkNorm,
  };
  const vectors = adaptiveVectors(g, weights.at("norm1"), condition, isDual ? 9 : 6) as Vectors;
  const text = contextPreOnly ? lastContext(g, weights, streams.context, condition) : firstContext(g, weights, streams.context, condition);

  const [shift, scale, gate, , , , shift2, scale2, gate2] = vectors;
  const norm1 = modulatedLayerNorm(g, undefined, streams.hidden, EPSILON, { scale, shift });
  const attended = jointAttention(g, weights.at("attn"), norm1, text.normed, { ...shape, contextPreOnly });
  let hidden = add(g, streams.hidden, multiply(g, gate, attended.x));
  if (shift2 !== undefined && scale2 !== undefined && gate2 !== undefined) {
    const norm2 = modulatedLayerNorm(g, undefined, streams.hidden, EPSILON, { scale: scale2, shift: shift2 });
    const alone = attention(g, weights.at("attn2"), norm2, shape);
    hidden = add(g, hidden, multiply(g, gate2, alone));
  }
  hidden = feed(g, weights.at("ff"), hidden, vectors);
  if (attended.context === undefined || text.vectors === undefined) return { hidden };
  const context = add(g, streams.context, multiply(g, text.vectors[2], attended.context));
  return { hidden, context: feed(g, weights.at("ff_context"), context, text.vectors) };
}

function qkNorm(g: Graph, weights: Weights, x: Value): Value {
  return rmsNorm(g, weights, x, EPSILON);
}

/** Shift, scale and gate of the attention, of the feed-forward and, where there is one, of the second attention. */
type Vectors = [Value, Value, Value, Value, Value, Value, Value?, Value?, Value?];

/** AdaLayerNormZero before the joint attention. */
function firstContext(g: Graph, weights: Weights, context: Value, condition: Value): { normed: Value; vectors?: Vectors } {
  const vectors = adaptiveVectors(g, weights.at("norm1_context"), condition, 6) as Vectors;
  const [shift, scale] = vectors;
  return { normed: modulatedLayerNorm(g, undefined, context, EPSILON, { scale, shift }), vectors };
}

/** AdaLayerNormContinuous in the last block, whose context goes no further. */
function lastContext(g: Graph, weights: Weights, context: Value, condition: Value): { normed: Value; vectors?: Vectors } {
  return { normed: continuousNorm(g, weights.at("norm1_context"), context, condition) };
}

/** AdaLayerNormContinuous: unlike AdaLayerNormZero's, its vectors are scale, then shift. */
export function continuousNorm(g: Graph, weights: Weights, x: Value, condition: Value): Value {
  const [scale, shift] = adaptiveVectors(g, weights, condition, 2) as [Value, Value];
  return modulatedLayerNorm(g, undefined, x, EPSILON, { scale, shift });
}

/** Norm, feed-forward, and back onto x. */
function feed(g: Graph, weights: Weights, x: Value, [, , , shift, scale, gate]: Vectors): Value {
  const fed = feedForward(g, weights, modulatedLayerNorm(g, undefined, x, EPSILON, { scale, shift }));
  return add(g, x, multiply(g, gate, fed));
}
