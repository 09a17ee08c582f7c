/**
 * The blocks of AuraFlow. A joint block has weights of their own for text and picture, which meet in one attention; a single block treats
 * the sequence of both alike. Both add their result to what came in, and the attention's share only on the way to the feed-forward.
 *
 * Source: diffusers models/transformers/auraflow_transformer_2d.py@0.42.1 (blocks, feed-forward), models/attention_processor.py@0.42.1
 * AuraFlowAttnProcessor2_0, models/normalization.py@0.42.1 AdaLayerNormZero. No layer has a bias, no norm a weight.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, multiply, silu } from "../../graph/operators.ts";
import { type AttentionOptions, attention, jointAttention } from "../../nn/attention.ts";
import { inPieces } from "../../nn/in-pieces.ts";
import { linear } from "../../nn/linear.ts";
import { adaptiveVectors, layerNorm, modulatedLayerNorm } from "../../nn/norm.ts";
import { type AuraFlowConfig, feedForwardWidth } from "./config.ts";

/** torch's default, which FP32LayerNorm keeps. */
const EPSILON = 1e-5;

/** Text and picture as two sequences of the same width. */
export interface TextAndPicture {
  /** Register tokens and text [batch, textTokens, width]. */
  text: Value;
  /** Patches [batch, patches, width]. */
  picture: Value;
}

/** Shapes: as they come in; `conditioning` [batch or 1, width] is the timestep's embedding after SiLU. */
export function jointBlock(g: Graph, weights: Weights, config: AuraFlowConfig, x: TextAndPicture, conditioning: Value): TextAndPicture {
  const picture = adaptiveNorm(g, weights.at("norm1"), x.picture, conditioning);
  const text = adaptiveNorm(g, weights.at("norm1_context"), x.text, conditioning);
  const options = { ...attentionShape(config), contextFirst: true };
  const attended = jointAttention(g, weights.at("attn"), picture.normed, text.normed, options);
  return {
    picture: feed(g, weights.at("ff"), x.picture, attended.x, picture),
    text: feed(g, weights.at("ff_context"), x.text, attended.context as Value, text),
  };
}

/** Shapes: x [batch, tokens, width] -> the same; `conditioning` as for a joint block. */
export function singleBlock(g: Graph, weights: Weights, config: AuraFlowConfig, x: Value, conditioning: Value): Value {
  const norm = adaptiveNorm(g, weights.at("norm1"), x, conditioning);
  const attended = attention(g, weights.at("attn"), norm.normed, attentionShape(config));
  return feed(g, weights.at("ff"), x, attended, norm);
}

function attentionShape({ num_attention_heads: heads, attention_head_dim: headDim }: AuraFlowConfig): AttentionOptions {
  return { heads, headDim, bias: false, outBias: false, qkNorm: (g, _, x) => layerNorm(g, undefined, x, EPSILON) };
}

/** A normed and modulated sequence, and the vectors for the rest of the block, [batch or 1, 1, width] each. */
interface AdaptiveNorm {
  normed: Value;
  gateAttention: Value;
  shiftFeed: Value;
  scaleFeed: Value;
  gateFeed: Value;
}

function adaptiveNorm(g: Graph, weights: Weights, x: Value, conditioning: Value): AdaptiveNorm {
  const vectors = adaptiveVectors(g, weights, conditioning, 6, false) as [Value, Value, Value, Value, Value, Value];
  const [shift, scale, gateAttention, shiftFeed, scaleFeed, gateFeed] = vectors;
  const normed = modulatedLayerNorm(g, undefined, x, EPSILON, { scale, shift });
  return { normed, gateAttention, shiftFeed, scaleFeed, gateFeed };
}

/** The second half of a block: norm of what came in plus attention, feed-forward, and that added to what came in. */
function feed(g: Graph, weights: Weights, x: Value, attended: Value, vectors: AdaptiveNorm): Value {
  const { gateAttention, scaleFeed, shiftFeed } = vectors;
  const first = add(g, x, multiply(g, gateAttention, attended));
  const norm2 = modulatedLayerNorm(g, undefined, first, EPSILON, { scale: scaleFeed, shift: shiftFeed });
  const fed = feedForward(g, weights, norm2);
  return add(g, x, multiply(g, vectors.gateFeed, fed));
}

/** AuraFlowFeedForward: gated by SiLU. */
function feedForward(g: Graph, weights: Weights, x: Value): Value {
  const width = x.shape.at(-1) as number;
  const inner = feedForwardWidth(width);
  return inPieces(g, x, inner, (rows) => {
    const widen = (name: string) => linear(g, weights.at(name), rows, { out: inner, bias: false });
    return linear(g, weights.at("out_projection"), multiply(g, silu(g, widen("linear_1")), widen("linear_2")), { out: width, bias: false });
  });
}
