/**
 * The convolutional blocks that AutoencoderKL's encoder and decoder are made of.
 *
 * Source: diffusers models/resnet.py, models/attention_processor.py@0.42.1. All norms use an epsilon of 1e-6.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, multiHeadAttention, reshape, silu, transpose, upsampleNearest } from "../../graph/operators.ts";
import { conv } from "../../nn/conv.ts";
import { linear } from "../../nn/linear.ts";
import { groupNorm } from "../../nn/norm.ts";
import type { AutoencoderKLConfig } from "./config.ts";

const EPSILON = 1e-6;

/** GroupNorm with the config's groups. */
export function norm(g: Graph, weights: Weights, config: AutoencoderKLConfig, x: Value): Value {
  return groupNorm(g, weights, x, { groups: config.norm_num_groups, epsilon: EPSILON });
}

/** ResnetBlock2D without a timestep: x [batch, in, height, width] -> [batch, out, height, width]. */
export function resnetBlock(g: Graph, weights: Weights, config: AutoencoderKLConfig, x: Value, out: number): Value {
  const first = conv(g, weights.at("conv1"), silu(g, norm(g, weights.at("norm1"), config, x)), { out, kernel: 3, padding: 1 });
  const second = conv(g, weights.at("conv2"), silu(g, norm(g, weights.at("norm2"), config, first)), { out, kernel: 3, padding: 1 });
  const shortcut = x.shape[1] === out ? x : conv(g, weights.at("conv_shortcut"), x, { out, kernel: 1 });
  return add(g, shortcut, second);
}

/** Doubles the size, then convolves. */
export function upsample(g: Graph, weights: Weights, x: Value): Value {
  return conv(g, weights.at("conv"), upsampleNearest(g, x), { out: x.shape[1] as number, kernel: 3, padding: 1 });
}

/** Halves the size by a strided convolution, padded below and to the right only. */
export function downsample(g: Graph, weights: Weights, x: Value): Value {
  return conv(g, weights.at("conv"), x, { out: x.shape[1] as number, kernel: 3, stride: 2, pads: [0, 0, 1, 1] });
}

/** UNetMidBlock2D: resnet, attention over all pixels, resnet. */
export function midBlock(g: Graph, weights: Weights, config: AutoencoderKLConfig, x: Value): Value {
  const channels = x.shape[1] as number;
  const first = resnetBlock(g, weights.at("resnets", 0), config, x, channels);
  const attended = config.mid_block_add_attention ? pixelAttention(g, weights.at("attentions", 0), config, first) : first;
  return resnetBlock(g, weights.at("resnets", 1), config, attended, channels);
}

/** Attention of every pixel to every pixel, one head as wide as the channels; checkpoints made before diffusers 0.18 use other names. */
function pixelAttention(g: Graph, weights: Weights, config: AutoencoderKLConfig, x: Value): Value {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const old = weights.at("query").has("weight");
  const names = old ? (["query", "key", "value"] as const) : (["to_q", "to_k", "to_v"] as const);
  const pixels = reshape(g, norm(g, weights.at("group_norm"), config, x), [batch, channels, height * width]);
  const sequence = transpose(g, pixels, [0, 2, 1]);
  const [query, key, value] = names.map((name) => linear(g, weights.at(name), sequence, { out: channels })) as [Value, Value, Value];
  const mixed = multiHeadAttention(g, query, key, value, { heads: 1, scale: 1 / Math.sqrt(channels) });
  const projected = linear(g, old ? weights.at("proj_attn") : weights.at("to_out", 0), mixed, { out: channels });
  return add(g, reshape(g, transpose(g, projected, [0, 2, 1]), x.shape), x);
}
