/**
 * The convolutional blocks that AutoencoderKL's encoder and decoder are made of.
 *
 * A block sees a whole picture or a strip of its rows. A strip is padded only where its border is the picture's own, so that each 3x3
 * convolution eats a row at every other border; and its norms are told the statistics of the whole picture.
 *
 * Source: diffusers models/resnet.py, models/attention_processor.py@0.42.1. All norms use an epsilon of 1e-6.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, multiHeadAttention, reshape, silu, transpose, upsampleNearest } from "../../graph/operators.ts";
import { conv } from "../../nn/conv.ts";
import { linear } from "../../nn/linear.ts";
import { type GroupStatisticsValues, groupNorm } from "../../nn/norm.ts";
import type { AutoencoderKLConfig } from "./config.ts";

const EPSILON = 1e-6;

/** Which rows a block sees. */
export interface Rows {
  /** Its first row is the picture's first. */
  readonly top: boolean;
  /** Its last row is the picture's last. */
  readonly bottom: boolean;
}

/** All rows of a picture. */
const WHOLE: Rows = { top: true, bottom: true };

/** GroupNorm with the config's groups, then SiLU. */
export function normSilu(g: Graph, weights: Weights, config: AutoencoderKLConfig, x: Value, statistics?: GroupStatisticsValues): Value {
  return silu(g, norm(g, weights, config, x, statistics));
}

/** A 3x3 convolution that keeps the size, but for the rows that a strip loses. */
export function conv3x3(g: Graph, weights: Weights, x: Value, out: number, { top, bottom }: Rows = WHOLE): Value {
  return conv(g, weights, x, { out, kernel: 3, pads: [top ? 1 : 0, 1, bottom ? 1 : 0, 1] });
}

/** The first half of a resnet block: norm, SiLU, convolution. */
export function firstHalf(
  g: Graph,
  weights: Weights,
  config: AutoencoderKLConfig,
  x: Value,
  { out, rows, statistics }: { out: number; rows?: Rows; statistics?: GroupStatisticsValues },
): Value {
  return conv3x3(g, weights.at("conv1"), normSilu(g, weights.at("norm1"), config, x, statistics), out, rows);
}

/** The second half of a resnet block, to which the shortcut is added. */
export function secondHalf(
  g: Graph,
  weights: Weights,
  config: AutoencoderKLConfig,
  first: Value,
  { rows, statistics }: { rows?: Rows; statistics?: GroupStatisticsValues } = {},
): Value {
  const channels = first.shape[1] as number;
  return conv3x3(g, weights.at("conv2"), normSilu(g, weights.at("norm2"), config, first, statistics), channels, rows);
}

/** What goes past a resnet block: its input, convolved where the number of channels changes. */
export function shortcut(g: Graph, weights: Weights, x: Value, out: number): Value {
  return x.shape[1] === out ? x : conv(g, weights.at("conv_shortcut"), x, { out, kernel: 1 });
}

/** ResnetBlock2D without a timestep: x [batch, in, height, width] -> [batch, out, height, width]. */
export function resnetBlock(g: Graph, weights: Weights, config: AutoencoderKLConfig, x: Value, out: number): Value {
  const second = secondHalf(g, weights, config, firstHalf(g, weights, config, x, { out }));
  return add(g, shortcut(g, weights, x, out), second);
}

/** Doubles the size, then convolves. */
export function upsample(g: Graph, weights: Weights, x: Value): Value {
  return conv3x3(g, weights.at("conv"), upsampleNearest(g, x), x.shape[1] as number);
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

/** Attention of every pixel to every pixel, one head as wide as the channels. */
function pixelAttention(g: Graph, weights: Weights, config: AutoencoderKLConfig, x: Value): Value {
  const pixels = pixelSequence(g, weights, config, x);
  const query = projectPixels(g, weights, pixels, "query");
  const key = projectPixels(g, weights, pixels, "key");
  return attendPixels(g, weights, x, { query, key, value: projectPixels(g, weights, pixels, "value") });
}

/** What attention sees of a picture: x [batch, channels, height, width] -> [batch, height * width, channels]. */
export function pixelSequence(
  g: Graph,
  weights: Weights,
  config: AutoencoderKLConfig,
  x: Value,
  statistics?: GroupStatisticsValues,
): Value {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  const pixels = reshape(g, norm(g, weights.at("group_norm"), config, x, statistics), [batch, channels, height * width]);
  return transpose(g, pixels, [0, 2, 1]);
}

/** Projects pixels to queries, keys or values; checkpoints made before diffusers 0.18 use other names. */
export function projectPixels(g: Graph, weights: Weights, pixels: Value, to: "query" | "key" | "value"): Value {
  const name = hasOldNames(weights) ? to : `to_${to[0]}`;
  return linear(g, weights.at(name), pixels, { out: pixels.shape.at(-1) as number });
}

/** Adds to the pixels of x what they find; keys and values may belong to more pixels than x has. */
export function attendPixels(g: Graph, weights: Weights, x: Value, { query, key, value }: Record<"query" | "key" | "value", Value>): Value {
  const channels = x.shape[1] as number;
  const mixed = multiHeadAttention(g, query, key, value, { heads: 1, scale: 1 / Math.sqrt(channels) });
  const projected = linear(g, hasOldNames(weights) ? weights.at("proj_attn") : weights.at("to_out", 0), mixed, { out: channels });
  return add(g, reshape(g, transpose(g, projected, [0, 2, 1]), x.shape), x);
}

function hasOldNames(weights: Weights): boolean {
  return weights.at("query").has("weight");
}

function norm(g: Graph, weights: Weights, config: AutoencoderKLConfig, x: Value, statistics?: GroupStatisticsValues): Value {
  return groupNorm(g, weights, x, { groups: config.norm_num_groups, epsilon: EPSILON, statistics });
}
