/**
 * One block of PixArt: self-attention, cross-attention to the caption, feed-forward; six modulation vectors from the timestep.
 *
 * Source: diffusers models/attention.py@0.42.1 BasicTransformerBlock with norm_type "ada_norm_single". norm2 stands before the feed-forward,
 * not before the cross-attention, and has no weights.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, gelu, multiply, reshape, split } from "../../graph/operators.ts";
import { attention } from "../../nn/attention.ts";
import { linear } from "../../nn/linear.ts";
import { layerNorm, modulate } from "../../nn/norm.ts";
import { weightValue } from "../../nn/weight.ts";
import type { PixArtConfig } from "./config.ts";

/** What every block reads beside the hidden states. */
export interface BlockContext {
  /** Projected caption [batch, captionTokens, width]. */
  caption: Value;
  /** Added to the scores of padding [batch, 1, 1, captionTokens]. */
  captionBias: Value;
  /** The timestep's modulation [batch or 1, 6 * width]. */
  modulation: Value;
}

/** Shapes: x [batch, patches, width] -> the same. */
export function pixArtBlock(g: Graph, weights: Weights, config: PixArtConfig, x: Value, context: BlockContext): Value {
  const shape = { heads: config.num_attention_heads, headDim: config.attention_head_dim, bias: config.attention_bias };
  const [shiftAttention, scaleAttention, gateAttention, shiftFeed, scaleFeed, gateFeed] = modulationOf(g, weights, context.modulation, 6);

  const norm1 = layerNorm(g, config.norm_elementwise_affine ? weights.at("norm1") : undefined, x, config.norm_eps);
  const attended = attention(g, weights.at("attn1"), modulate(g, norm1, scaleAttention, shiftAttention), shape);
  const first = add(g, multiply(g, gateAttention, attended), x);

  const crossed = attention(g, weights.at("attn2"), first, { ...shape, context: context.caption, mask: context.captionBias });
  const second = add(g, crossed, first);

  const norm2 = layerNorm(g, config.norm_elementwise_affine ? weights.at("norm2") : undefined, second, config.norm_eps);
  const fed = feedForward(g, weights.at("ff", "net"), modulate(g, norm2, scaleFeed, shiftFeed));
  return add(g, multiply(g, gateFeed, fed), second);
}

/**
 * The vectors that modulate a block or the head: the learned table plus the timestep's share.
 *
 * Shapes: table [count, width], modulation [batch, count * width] -> count times [batch, 1, width].
 */
export function modulationOf(g: Graph, weights: Weights, modulation: Value, count: 6): [Value, Value, Value, Value, Value, Value] {
  const [batch, all] = modulation.shape as [number, number];
  const width = all / count;
  const table = weightValue(g, weights.tensor("scale_shift_table", [count, width]), { after: modulation });
  return split(g, add(g, table, reshape(g, modulation, [batch, count, width])), count, 1) as [Value, Value, Value, Value, Value, Value];
}

/** diffusers' FeedForward with GELU (tanh): net.0.proj widens four times, net.2 narrows. */
function feedForward(g: Graph, weights: Weights, x: Value): Value {
  const width = x.shape.at(-1) as number;
  const inner = gelu(g, linear(g, weights.at(0, "proj"), x, { out: 4 * width }), "tanh");
  return linear(g, weights.at(2), inner, { out: width });
}
