/**
 * One block of PixArt: self-attention, cross-attention to the caption, feed-forward; six modulation vectors from the timestep.
 *
 * Source: diffusers models/attention.py@0.42.1 BasicTransformerBlock with norm_type "ada_norm_single". norm2 stands before the feed-forward,
 * not before the cross-attention, and has no weights.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, multiply, reshape, split } from "../../graph/operators.ts";
import { attention } from "../../nn/attention.ts";
import { feedForward } from "../../nn/feed-forward.ts";
import { modulatedLayerNorm } from "../../nn/norm.ts";
import { weightValue } from "../../nn/weight.ts";
import type { PixArtConfig } from "./config.ts";

/** What every block reads beside the hidden states. */
export interface BlockContext {
  /** Projected caption [batch, captionTokens, width]. */
  caption: Value;
  /** int32 [batch, captionTokens]: 1 for text, 0 for padding. */
  captionMask: Value;
  /** The timestep's modulation [batch or 1, 6 * width]. */
  modulation: Value;
}

/** Shapes: x [batch, patches, width] -> the same. */
export function pixArtBlock(g: Graph, weights: Weights, config: PixArtConfig, x: Value, context: BlockContext): Value {
  const shape = { heads: config.num_attention_heads, headDim: config.attention_head_dim, bias: config.attention_bias };
  const width = x.shape.at(-1) as number;
  const modulation = reshape(g, context.modulation, [context.modulation.shape[0] as number, 6, width]);
  const vectors = scaleShiftVectors(g, weights, modulation, 6) as [Value, Value, Value, Value, Value, Value];
  const [shiftAttention, scaleAttention, gateAttention, shiftFeed, scaleFeed, gateFeed] = vectors;

  const affine = (name: string) => (config.norm_elementwise_affine ? weights.at(name) : undefined);

  const norm1 = modulatedLayerNorm(g, affine("norm1"), x, config.norm_eps, { scale: scaleAttention, shift: shiftAttention });
  const attended = attention(g, weights.at("attn1"), norm1, shape);
  const first = add(g, multiply(g, gateAttention, attended), x);

  const crossed = attention(g, weights.at("attn2"), first, { ...shape, context: context.caption, keyMask: context.captionMask });
  const second = add(g, crossed, first);

  const norm2 = modulatedLayerNorm(g, affine("norm2"), second, config.norm_eps, { scale: scaleFeed, shift: shiftFeed });
  const fed = feedForward(g, weights.at("ff"), norm2);
  return add(g, multiply(g, gateFeed, fed), second);
}

/**
 * The vectors that modulate a block or the head: the learned table plus the timestep's share.
 *
 * Shapes: scale_shift_table [count, width], timestep [batch or 1, count or 1, width] -> count times [batch or 1, 1, width].
 */
export function scaleShiftVectors(g: Graph, weights: Weights, timestep: Value, count: number): Value[] {
  const table = weightValue(g, weights.tensor("scale_shift_table", [count, timestep.shape.at(-1) as number]), { after: timestep });
  return split(g, add(g, table, timestep), count, 1);
}
