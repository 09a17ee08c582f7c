/**
 * SD3Transformer2DModel: noisy latents, text embeddings and a timestep in; the predicted flow out.
 *
 * Source: diffusers models/transformers/transformer_sd3.py@0.42.1. The position embedding is a square that the checkpoint stores (hundreds of
 * megabytes in the real ones); its middle is cut out to the picture's size before it is widened. The condition of all norms passes through
 * SiLU once, not in every norm.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import { UsageError } from "../../errors.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, cast, reshape, silu, slice } from "../../graph/operators.ts";
import type { ModelGraph, State } from "../../graph/segment.ts";
import { twoLinear } from "../../nn/feed-forward.ts";
import { linear } from "../../nn/linear.ts";
import { patchSequence, picture } from "../../nn/patches.ts";
import { timestepEmbedding } from "../../nn/position-embedding.ts";
import { checkFloat, conversions } from "../../nn/weight.ts";
import type { ComputeDType } from "../../tensor/dtype.ts";
import type { FloatTensor, Tensor } from "../../tensor/tensor.ts";
import { continuousNorm, sd3Block } from "./block.ts";
import type { SD3Config } from "./config.ts";

/** Channels of the sinusoidal projection of a timestep. */
const PROJECTION_CHANNELS = 256;

/** Size of one call. */
export interface SD3Size {
  batch: number;
  /** Height and width of the latents, in latent pixels. */
  latentHeight: number;
  latentWidth: number;
  /** Tokens of all text encoders together. */
  textTokens: number;
  /** 1 when all pictures of the batch share the timestep, else the batch. */
  timesteps: number;
  /** Blocks that are passed over (skip-layer guidance), by index. */
  skipLayers?: readonly number[];
}

/**
 * The transformer for one size. Inputs: see sd3ConstantInputs and sd3StepInputs. Output `sample` [batch, out_channels, latentHeight, latentWidth].
 *
 * Errors: UsageError when the picture is larger than the stored position embedding.
 */
export function sd3Transformer(weights: Weights, config: SD3Config, dtype: ComputeDType, size: SD3Size): ModelGraph {
  const indices = Array.from({ length: config.num_layers }, (_, i) => i).filter((i) => !size.skipLayers?.includes(i));
  checkSD3Size(config, size);
  return {
    dtype,
    inputs: {
      latents: { shape: [size.batch, config.in_channels, size.latentHeight, size.latentWidth], dtype: "float32" },
      timestep: { shape: [size.timesteps, PROJECTION_CHANNELS], dtype: "float32" },
      encoder_hidden_states: { shape: [size.batch, size.textTokens, config.joint_attention_dim], dtype: "float32" },
      pooled_projections: { shape: [size.batch, config.pooled_projection_dim], dtype: "float32" },
    },
    segments: [
      { name: "embed", build: (g, state) => embed(g, weights, config, state) },
      ...indices.map((i) => ({
        name: `transformer_blocks.${i}`,
        build: (g: Graph, { hidden, context, condition }: State): State => ({
          ...sd3Block(
            g,
            weights.at("transformer_blocks", i),
            config,
            i,
            { hidden: hidden as Value, context: context as Value },
            condition as Value,
          ),
        }),
      })),
      {
        name: "proj_out",
        build: (g, { hidden, condition }) => ({ sample: head(g, weights, config, size, hidden as Value, condition as Value) }),
      },
    ],
    outputs: ["sample"],
  };
}

/** What a call takes that does not change from step to step. */
export interface SD3Text {
  /** [batch, textTokens, joint_attention_dim] */
  encoderHiddenStates: FloatTensor;
  /** [batch, pooled_projection_dim] */
  pooledProjections: FloatTensor;
}

/** The inputs that stay the same through all steps. */
export function sd3ConstantInputs({ encoderHiddenStates, pooledProjections }: SD3Text): Record<string, Tensor> {
  return { encoder_hidden_states: encoderHiddenStates, pooled_projections: pooledProjections };
}

/** The inputs of one step; `timesteps` holds one number (0..1000, fractions too) for all pictures, or one each. */
export function sd3StepInputs(latents: FloatTensor, timesteps: readonly number[]): Record<string, Tensor> {
  return { latents, timestep: timestepEmbedding(timesteps, PROJECTION_CHANNELS) };
}

/** Errors: UsageError when the picture is larger than the stored position embedding. */
export function checkSD3Size(config: SD3Config, size: Pick<SD3Size, "latentHeight" | "latentWidth">): void {
  const limit = config.pos_embed_max_size * config.patch_size;
  if (size.latentHeight <= limit && size.latentWidth <= limit) return;
  throw new UsageError(
    `latents of ${size.latentHeight} x ${size.latentWidth} exceed the transformer's position embedding, which covers ${limit} x ${limit}`,
    { hint: "pos_embed_max_size of the transformer's config limits the size of a picture" },
  );
}

function embed(g: Graph, weights: Weights, config: SD3Config, state: State): State {
  const width = config.num_attention_heads * config.attention_head_dim;
  const latents = state.latents as Value;
  const patches = patchSequence(g, weights.at("pos_embed", "proj"), latents, { out: width, patch: config.patch_size });
  const embedder = weights.at("time_text_embed");
  const timestep = twoLinear(g, embedder.at("timestep_embedder"), state.timestep as Value, width, silu);
  const text = twoLinear(g, embedder.at("text_embedder"), state.pooled_projections as Value, width, silu);
  return {
    hidden: add(g, patches, positionEmbedding(g, weights.at("pos_embed"), config, latents, width)),
    context: linear(g, weights.at("context_embedder"), state.encoder_hidden_states as Value, { out: width, faithful: true }),
    condition: silu(g, add(g, timestep, text)),
  };
}

/** The middle of the stored square [1, side * side, width], as large as the picture. */
function positionEmbedding(g: Graph, weights: Weights, config: SD3Config, latents: Value, width: number): Value {
  const side = config.pos_embed_max_size;
  const stored = weights.tensor("pos_embed", [1, side ** 2, width]);
  checkFloat(stored);
  const [, , height, rowLength] = latents.shape as [number, number, number, number];
  const cut = (x: Value, axis: number, count: number) => {
    const start = Math.floor((side - count) / 2);
    return slice(g, x, axis, start, start + count);
  };
  const rows = height / config.patch_size;
  const columns = rowLength / config.patch_size;
  const middle = cut(cut(reshape(g, g.weight(stored), [side, side, width]), 0, rows), 1, columns);
  const position = reshape(g, middle, [1, rows * columns, width]);
  return conversions(stored.dtype, g.dtype).reduce((value, dtype) => cast(g, value, dtype), position);
}

/** Norm, projection to the pixels of a patch, and the patches laid out as a picture again. */
function head(g: Graph, weights: Weights, config: SD3Config, size: SD3Size, hidden: Value, condition: Value): Value {
  const normed = continuousNorm(g, weights.at("norm_out"), hidden, condition);
  const patch = config.patch_size;
  const out = patch ** 2 * (config.out_channels ?? config.in_channels);
  const projected = linear(g, weights.at("proj_out"), normed, { out, faithful: true });
  return picture(g, projected, { rows: size.latentHeight / patch, columns: size.latentWidth / patch, patch });
}
