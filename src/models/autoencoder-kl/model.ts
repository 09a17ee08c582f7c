/**
 * AutoencoderKL: latents to pictures (decoder) and pictures to latents (encoder).
 *
 * Source: diffusers models/autoencoders/{autoencoder_kl,vae}.py@0.42.1. Un-scaling the latents is the caller's, as in diffusers' pipelines.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import type { ModelGraph, Segment, State } from "../../graph/segment.ts";
import { conv } from "../../nn/conv.ts";
import type { GroupStatisticsValues } from "../../nn/norm.ts";
import type { ComputeDType } from "../../tensor/dtype.ts";
import { conv3x3, downsample, midBlock, normSilu, type Rows, resnetBlock, upsample } from "./blocks.ts";
import type { AutoencoderKLConfig } from "./config.ts";

/** Size of one call, in latent pixels (decoder) or pixels (encoder). */
export interface ImageSize {
  batch: number;
  height: number;
  width: number;
}

/** The decoder: `latents` [batch, latent_channels, height, width] -> `sample` [batch, out_channels, 8 * height, 8 * width], about -1..1. */
export function autoencoderKLDecoder(weights: Weights, config: AutoencoderKLConfig, dtype: ComputeDType, size: ImageSize): ModelGraph {
  const decoder = weights.at("decoder");
  const channels = config.block_out_channels.toReversed();
  const upBlocks = channels.map((out, i): Segment => {
    const block = decoder.at("up_blocks", i);
    return segment(`decoder.up_blocks.${i}`, (g, x) => {
      const resnets = repeat(config.layers_per_block + 1, x, (hidden, j) => resnetBlock(g, block.at("resnets", j), config, hidden, out));
      return i === channels.length - 1 ? resnets : upsample(g, block.at("upsamplers", 0), resnets);
    });
  });
  return {
    dtype,
    inputs: { latents: { shape: [size.batch, config.latent_channels, size.height, size.width], dtype: "float32" } },
    segments: [
      {
        name: "decoder.conv_in",
        build: (g, { latents }) => ({ hidden: decoderInput(g, weights, config, latents as Value) }),
      },
      segment("decoder.mid_block", (g, x) => midBlock(g, decoder.at("mid_block"), config, x)),
      ...upBlocks,
      { name: "decoder.conv_out", build: (g, { hidden }) => ({ sample: decoderOutput(g, weights, config, hidden as Value) }) },
    ],
    outputs: ["sample"],
  };
}

/**
 * The encoder: `sample` [batch, in_channels, height, width] -> `moments` [batch, 2 * latent_channels, height / 8, width / 8]: the mean in the
 * first half of the channels, the logarithm of the variance in the second.
 */
export function autoencoderKLEncoder(weights: Weights, config: AutoencoderKLConfig, dtype: ComputeDType, size: ImageSize): ModelGraph {
  const encoder = weights.at("encoder");
  const channels = config.block_out_channels;
  const moments = 2 * config.latent_channels;
  const downBlocks = channels.map((out, i): Segment => {
    const block = encoder.at("down_blocks", i);
    return segment(`encoder.down_blocks.${i}`, (g, x) => {
      const resnets = repeat(config.layers_per_block, x, (hidden, j) => resnetBlock(g, block.at("resnets", j), config, hidden, out));
      return i === channels.length - 1 ? resnets : downsample(g, block.at("downsamplers", 0), resnets);
    });
  });
  return {
    dtype,
    inputs: { sample: { shape: [size.batch, config.in_channels, size.height, size.width], dtype: "float32" } },
    segments: [
      {
        name: "encoder.conv_in",
        build: (g, { sample }) => ({ hidden: conv3x3(g, encoder.at("conv_in"), sample as Value, channels[0] as number) }),
      },
      ...downBlocks,
      segment("encoder.mid_block", (g, x) => midBlock(g, encoder.at("mid_block"), config, x)),
      {
        name: "encoder.conv_out",
        build: (g, { hidden }) => {
          const result = head(g, encoder, config, hidden as Value, { out: moments });
          return { moments: config.use_quant_conv ? conv(g, weights.at("quant_conv"), result, { out: moments, kernel: 1 }) : result };
        },
      },
    ],
    outputs: ["moments"],
  };
}

/** Latents to the decoder's first features; latents are few channels, features block_out_channels' last. */
export function decoderInput(g: Graph, weights: Weights, config: AutoencoderKLConfig, latents: Value, rows?: Rows): Value {
  const scaled = config.use_post_quant_conv
    ? conv(g, weights.at("post_quant_conv"), latents, { out: config.latent_channels, kernel: 1 })
    : latents;
  return conv3x3(g, weights.at("decoder", "conv_in"), scaled, config.block_out_channels.at(-1) as number, rows);
}

/** The decoder's last features to a picture. */
export function decoderOutput(
  g: Graph,
  weights: Weights,
  config: AutoencoderKLConfig,
  x: Value,
  options: { rows?: Rows; statistics?: GroupStatisticsValues } = {},
): Value {
  return head(g, weights.at("decoder"), config, x, { out: config.out_channels, ...options });
}

/** Norm, SiLU and the last convolution, the same in both directions. */
function head(
  g: Graph,
  weights: Weights,
  config: AutoencoderKLConfig,
  x: Value,
  { out, rows, statistics }: { out: number; rows?: Rows; statistics?: GroupStatisticsValues },
): Value {
  return conv3x3(g, weights.at("conv_out"), normSilu(g, weights.at("conv_norm_out"), config, x, statistics), out, rows);
}

function segment(name: string, apply: (g: Graph, x: Value) => Value): Segment {
  return { name, build: (g, { hidden }: State) => ({ hidden: apply(g, hidden as Value) }) };
}

function repeat(times: number, x: Value, apply: (x: Value, index: number) => Value): Value {
  return Array.from({ length: times }).reduce<Value>((hidden, _, index) => apply(hidden, index), x);
}
