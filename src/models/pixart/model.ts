/**
 * PixArtTransformer2DModel: noisy latents, a caption and a timestep in; predicted noise (and variance) out.
 *
 * Source: diffusers models/transformers/pixart_transformer_2d.py@0.42.1. Position embedding and timestep projection are inputs, calculated in
 * JavaScript: they are the same at every step or in every block.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, cast, concat, reshape, silu } from "../../graph/operators.ts";
import type { ModelGraph, State } from "../../graph/segment.ts";
import { geluTanh, twoLinear } from "../../nn/feed-forward.ts";
import { linear } from "../../nn/linear.ts";
import { modulatedLayerNorm } from "../../nn/norm.ts";
import { patchSequence, picture } from "../../nn/patches.ts";
import { sinCosPositionEmbedding, timestepEmbedding } from "../../nn/position-embedding.ts";
import type { ComputeDType } from "../../tensor/dtype.ts";
import { type FloatTensor, floatTensor, intTensor, type Tensor } from "../../tensor/tensor.ts";
import { pixArtBlock, scaleShiftVectors } from "./block.ts";
import { type PixArtConfig, usesAdditionalConditions } from "./config.ts";

/** Channels of the sinusoidal projection of a timestep or size. */
const PROJECTION_CHANNELS = 256;

/** Size of one call. */
export interface PixArtSize {
  batch: number;
  /** Height and width of the latents, in latent pixels. */
  latentHeight: number;
  latentWidth: number;
  captionTokens: number;
  /** 1 when all pictures of the batch share the timestep, else the batch. */
  timesteps: number;
}

/** The transformer for one size. Inputs: see pixArtInputs. Output `sample` [batch, out_channels, latentHeight, latentWidth]. */
export function pixArtTransformer(weights: Weights, config: PixArtConfig, dtype: ComputeDType, size: PixArtSize): ModelGraph {
  const width = innerWidth(config);
  const patches = (size.latentHeight / config.patch_size) * (size.latentWidth / config.patch_size);
  const conditions = { shape: [size.batch, PROJECTION_CHANNELS], dtype: "float32" } as const;
  return {
    dtype,
    inputs: {
      latents: { shape: [size.batch, config.in_channels, size.latentHeight, size.latentWidth], dtype: "float32" },
      position: { shape: [1, patches, width], dtype: "float32" },
      timestep: { shape: [size.timesteps, PROJECTION_CHANNELS], dtype: "float32" },
      encoder_hidden_states: {
        shape: [size.batch, size.captionTokens, config.caption_channels ?? config.cross_attention_dim],
        dtype: "float32",
      },
      caption_mask: { shape: [size.batch, size.captionTokens], dtype: "int64" },
      ...(usesAdditionalConditions(config)
        ? { resolution: { shape: [size.batch, 2, PROJECTION_CHANNELS], dtype: "float32" }, aspect_ratio: conditions }
        : {}),
    },
    segments: [
      { name: "embed", build: (g, state) => embed(g, weights, config, state) },
      ...Array.from({ length: config.num_layers }, (_, i) => ({
        name: `transformer_blocks.${i}`,
        build: (g: Graph, { hidden, caption, key_mask, modulation }: State): State => ({
          hidden: pixArtBlock(g, weights.at("transformer_blocks", i), config, hidden as Value, {
            caption: caption as Value,
            captionMask: key_mask as Value,
            modulation: modulation as Value,
          }),
        }),
      })),
      {
        name: "proj_out",
        build: (g, { hidden, embedded_timestep }) => ({
          sample: head(g, weights, config, size, hidden as Value, embedded_timestep as Value),
        }),
      },
    ],
    outputs: ["sample"],
  };
}

/** What a call takes that does not change from step to step. */
export interface PixArtCaption {
  /** [batch, captionTokens, caption_channels] */
  encoderHiddenStates: FloatTensor;
  /** batch lists of captionTokens numbers: 1 for text, 0 for padding. */
  attentionMask: readonly (readonly number[])[];
  /** For models with size conditions: height and width in pixels of each picture, one after the other, and height / width of each. */
  conditions?: { resolution: readonly number[]; aspectRatio: readonly number[] };
}

/** The inputs that stay the same through all steps. */
export function pixArtConstantInputs(config: PixArtConfig, size: PixArtSize, caption: PixArtCaption): Record<string, Tensor> {
  const inputs: Record<string, Tensor> = {
    position: sinCosPositionEmbedding(innerWidth(config), {
      gridHeight: size.latentHeight / config.patch_size,
      gridWidth: size.latentWidth / config.patch_size,
      baseSize: Math.floor(config.sample_size / config.patch_size),
      interpolationScale: config.interpolation_scale ?? Math.max(Math.floor(config.sample_size / 64), 1),
    }),
    encoder_hidden_states: caption.encoderHiddenStates,
    caption_mask: intTensor([size.batch, size.captionTokens], caption.attentionMask.flat()),
  };
  if (usesAdditionalConditions(config) && caption.conditions !== undefined) {
    const resolution = timestepEmbedding(caption.conditions.resolution, PROJECTION_CHANNELS);
    inputs.resolution = floatTensor([size.batch, 2, PROJECTION_CHANNELS], resolution.data);
    inputs.aspect_ratio = timestepEmbedding(caption.conditions.aspectRatio, PROJECTION_CHANNELS);
  }
  return inputs;
}

/** The inputs of one step; `timesteps` holds one number for all pictures, or one each. */
export function pixArtStepInputs(latents: FloatTensor, timesteps: readonly number[]): Record<string, Tensor> {
  return { latents, timestep: timestepEmbedding(timesteps, PROJECTION_CHANNELS) };
}

function innerWidth(config: PixArtConfig): number {
  return config.num_attention_heads * config.attention_head_dim;
}

function embed(g: Graph, weights: Weights, config: PixArtConfig, state: State): State {
  const width = innerWidth(config);
  const sequence = patchSequence(g, weights.at("pos_embed", "proj"), state.latents as Value, { out: width, patch: config.patch_size });
  const embeddedTimestep = embedTimestep(g, weights.at("adaln_single", "emb"), width, state);
  return {
    hidden: add(g, sequence, state.position as Value),
    caption:
      config.caption_channels == null
        ? (state.encoder_hidden_states as Value)
        : twoLinear(g, weights.at("caption_projection"), state.encoder_hidden_states as Value, width, geluTanh),
    key_mask: cast(g, state.caption_mask as Value, "int32"),
    embedded_timestep: embeddedTimestep,
    modulation: linear(g, weights.at("adaln_single", "linear"), silu(g, embeddedTimestep), { out: 6 * width, faithful: true }),
  };
}

/** PixArtAlphaCombinedTimestepSizeEmbeddings: the timestep and, for some PixArt-α models, resolution and aspect ratio. */
function embedTimestep(g: Graph, weights: Weights, width: number, state: State): Value {
  const timestep = twoLinear(g, weights.at("timestep_embedder"), state.timestep as Value, width, silu);
  if (state.resolution === undefined) return timestep;
  const third = width / 3;
  const resolution = twoLinear(g, weights.at("resolution_embedder"), state.resolution, third, silu);
  const aspectRatio = twoLinear(g, weights.at("aspect_ratio_embedder"), state.aspect_ratio as Value, third, silu);
  return add(g, timestep, concat(g, [reshape(g, resolution, [resolution.shape[0] as number, 2 * third]), aspectRatio], 1));
}

/** Norm, modulation, projection to pixels of a patch, and the patches laid out as a picture again. */
function head(g: Graph, weights: Weights, config: PixArtConfig, size: PixArtSize, hidden: Value, embeddedTimestep: Value): Value {
  const perPicture = reshape(g, embeddedTimestep, [embeddedTimestep.shape[0] as number, 1, innerWidth(config)]);
  const [shift, scale] = scaleShiftVectors(g, weights, perPicture, 2) as [Value, Value];
  const modulated = modulatedLayerNorm(g, undefined, hidden, 1e-6, { scale, shift });
  const patch = config.patch_size;
  const channels = config.out_channels ?? config.in_channels;
  const projected = linear(g, weights.at("proj_out"), modulated, { out: patch * patch * channels, faithful: true });
  return picture(g, projected, { rows: size.latentHeight / patch, columns: size.latentWidth / patch, patch });
}
