/**
 * The blocks of AuraFlow. A joint block has weights of their own for text and picture, which meet in one attention; a single block treats
 * the sequence of both alike. Both add their result to what came in, and the attention's share only on the way to the feed-forward.
 *
 * Source: diffusers models/transformers/auraflow_transformer_2d.py@0.42.1 (blocks, feed-forward), models/attention_processor.py@0.42.1
 * AuraFlowAttnProcessor2_0, models/normalization.py@0.42.1 AdaLayerNormZero. No layer has a bias, no norm a weight.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, concat, multiHeadAttention, multiply, reshape, silu, slice, split } from "../../graph/operators.ts";
import { queryKeyValue } from "../../nn/attention.ts";
import { linear } from "../../nn/linear.ts";
import { layerNorm, modulate } from "../../nn/norm.ts";
import { type AuraFlowConfig, feedForwardWidth, innerWidth } from "./config.ts";

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
  const attention = weights.at("attn");
  const own = projections(g, attention, config, picture.normed, ["to_q", "to_k", "to_v"]);
  const added = projections(g, attention, config, text.normed, ["add_q_proj", "add_k_proj", "add_v_proj"]);
  const mixed = attend(g, config, added.map((value, i) => concat(g, [value, own[i] as Value], 1)) as [Value, Value, Value]);
  const textTokens = x.text.shape[1] as number;
  const tokens = mixed.shape[1] as number;
  const width = { out: innerWidth(config), bias: false };
  const attendedPicture = linear(g, attention.at("to_out", 0), slice(g, mixed, 1, textTokens, tokens), width);
  const attendedText = linear(g, attention.at("to_add_out"), slice(g, mixed, 1, 0, textTokens), width);
  return {
    picture: feed(g, weights.at("ff"), x.picture, attendedPicture, picture),
    text: feed(g, weights.at("ff_context"), x.text, attendedText, text),
  };
}

/** Shapes: x [batch, tokens, width] -> the same; `conditioning` as for a joint block. */
export function singleBlock(g: Graph, weights: Weights, config: AuraFlowConfig, x: Value, conditioning: Value): Value {
  const norm = adaptiveNorm(g, weights.at("norm1"), x, conditioning);
  const attention = weights.at("attn");
  const mixed = attend(g, config, projections(g, attention, config, norm.normed, ["to_q", "to_k", "to_v"]));
  const attended = linear(g, attention.at("to_out", 0), mixed, { out: innerWidth(config), bias: false });
  return feed(g, weights.at("ff"), x, attended, norm);
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
  const [rows, width] = conditioning.shape as [number, number];
  const vectors = reshape(g, linear(g, weights.at("linear"), conditioning, { out: 6 * width, bias: false }), [rows, 6, width]);
  const [shift, scale, gateAttention, shiftFeed, scaleFeed, gateFeed] = split(g, vectors, 6, 1) as [
    Value,
    Value,
    Value,
    Value,
    Value,
    Value,
  ];
  const normed = modulate(g, layerNorm(g, undefined, x, EPSILON), scale, shift);
  return { normed, gateAttention, shiftFeed, scaleFeed, gateFeed };
}

/** Queries and keys are normed head by head. */
function projections(
  g: Graph,
  weights: Weights,
  config: AuraFlowConfig,
  x: Value,
  names: readonly [string, string, string],
): [Value, Value, Value] {
  const [query, key, value] = queryKeyValue(g, weights, names, x, { out: innerWidth(config), bias: false });
  const perHead = [...x.shape.slice(0, -1), config.num_attention_heads, config.attention_head_dim];
  const norm = (all: Value) => reshape(g, layerNorm(g, undefined, reshape(g, all, perHead), EPSILON), all.shape);
  return [norm(query), norm(key), value];
}

function attend(g: Graph, config: AuraFlowConfig, [query, key, value]: [Value, Value, Value]): Value {
  const scale = 1 / Math.sqrt(config.attention_head_dim);
  return multiHeadAttention(g, query, key, value, { heads: config.num_attention_heads, scale });
}

/** The second half of a block: norm of what came in plus attention, feed-forward, and that added to what came in. */
function feed(g: Graph, weights: Weights, x: Value, attended: Value, vectors: AdaptiveNorm): Value {
  const norm2 = layerNorm(g, undefined, add(g, x, multiply(g, vectors.gateAttention, attended)), EPSILON);
  const fed = feedForward(g, weights, modulate(g, norm2, vectors.scaleFeed, vectors.shiftFeed));
  return add(g, x, multiply(g, vectors.gateFeed, fed));
}

/** AuraFlowFeedForward: gated by SiLU. */
function feedForward(g: Graph, weights: Weights, x: Value): Value {
  const width = x.shape.at(-1) as number;
  const widen = (name: string) => linear(g, weights.at(name), x, { out: feedForwardWidth(width), bias: false });
  return linear(g, weights.at("out_projection"), multiply(g, silu(g, widen("linear_1")), widen("linear_2")), { out: width, bias: false });
}
