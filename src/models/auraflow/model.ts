/**
 * AuraFlowTransformer2DModel: noisy latents, a text and a timestep in; predicted velocity out.
 *
 * Source: diffusers models/transformers/auraflow_transformer_2d.py@0.42.1. Positions are learned for a square of patches, of which a picture
 * takes the middle; eight learned register tokens stand before the text.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import { UsageError } from "../../errors.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, cast, concat, gather, reshape, silu, slice, transpose } from "../../graph/operators.ts";
import type { ModelGraph, Segment, State } from "../../graph/segment.ts";
import { twoLinear } from "../../nn/feed-forward.ts";
import { linear } from "../../nn/linear.ts";
import { adaptiveVectors, modulate } from "../../nn/norm.ts";
import { picture } from "../../nn/patches.ts";
import { timestepEmbedding } from "../../nn/position-embedding.ts";
import { checkFloat, conversions, weightValue } from "../../nn/weight.ts";
import type { ComputeDType } from "../../tensor/dtype.ts";
import { type FloatTensor, intTensor, type Tensor } from "../../tensor/tensor.ts";
import { jointBlock, singleBlock } from "./block.ts";
import { type AuraFlowConfig, innerWidth, positionSide } from "./config.ts";

/** Channels of the sinusoidal projection of a timestep. */
const PROJECTION_CHANNELS = 256;
/** The projection counts a timestep from 0 to 1000. */
const TIMESTEP_SCALE = 1000;
const REGISTER_TOKENS = 8;

/** Size of one call. */
export interface AuraFlowSize {
  batch: number;
  /** Height and width of the latents, in latent pixels. */
  latentHeight: number;
  latentWidth: number;
  textTokens: number;
  /** 1 when all pictures of the batch share the timestep, else the batch. */
  timesteps: number;
}

/** The transformer for one size. Inputs: see auraFlowConstantInputs and auraFlowStepInputs. Output `sample`, of the latents' size. */
export function auraFlowTransformer(weights: Weights, config: AuraFlowConfig, dtype: ComputeDType, size: AuraFlowSize): ModelGraph {
  const { rows, columns } = patchGrid(config, size);
  return {
    dtype,
    inputs: {
      latents: { shape: [size.batch, config.in_channels, size.latentHeight, size.latentWidth], dtype: "float32" },
      positions: { shape: [rows * columns], dtype: "int64" },
      timestep: { shape: [size.timesteps, PROJECTION_CHANNELS], dtype: "float32" },
      encoder_hidden_states: { shape: [size.batch, size.textTokens, config.joint_attention_dim], dtype: "float32" },
    },
    segments: [
      { name: "embed", build: (g, state) => embed(g, weights, config, size, state) },
      ...jointBlocks(weights, config),
      ...singleBlocks(weights, config),
      { name: "proj_out", build: (g, state) => ({ sample: head(g, weights, config, size, state) }) },
    ],
    outputs: ["sample"],
  };
}

function jointBlocks(weights: Weights, config: AuraFlowConfig): Segment[] {
  return Array.from({ length: config.num_mmdit_layers }, (_, i) => ({
    name: `joint_transformer_blocks.${i}`,
    build: (g: Graph, { hidden, text, conditioning }: State): State => {
      const x = { text: text as Value, picture: hidden as Value };
      const result = jointBlock(g, weights.at("joint_transformer_blocks", i), config, x, conditioning as Value);
      return { hidden: result.picture, text: result.text };
    },
  }));
}

/** From the first single block on, `hidden` is the text with the picture behind it. */
function singleBlocks(weights: Weights, config: AuraFlowConfig): Segment[] {
  return Array.from({ length: config.num_single_dit_layers }, (_, i) => ({
    name: `single_transformer_blocks.${i}`,
    build: (g: Graph, state: State): State => {
      const x = i === 0 ? concat(g, [state.text as Value, state.hidden as Value], 1) : (state.hidden as Value);
      return { hidden: singleBlock(g, weights.at("single_transformer_blocks", i), config, x, state.conditioning as Value) };
    },
  }));
}

/**
 * Refuses a picture with more patches a side than there are positions.
 *
 * Errors: UsageError.
 */
export function checkAuraFlowSize(config: AuraFlowConfig, size: Pick<AuraFlowSize, "latentHeight" | "latentWidth">): void {
  const side = positionSide(config);
  const { rows, columns } = patchGrid(config, size);
  if (rows <= side && columns <= side) return;
  throw new UsageError(
    `the latents of ${size.latentHeight} x ${size.latentWidth} have ${rows} x ${columns} patches, and the transformer has positions for ${side} x ${side}`,
    { hint: "choose a smaller picture" },
  );
}

/**
 * The inputs that stay the same through all steps.
 *
 * Errors: as checkAuraFlowSize.
 */
export function auraFlowConstantInputs(
  config: AuraFlowConfig,
  size: AuraFlowSize,
  encoderHiddenStates: FloatTensor,
): Record<string, Tensor> {
  const positions = middlePositions(config, size);
  return { encoder_hidden_states: encoderHiddenStates, positions: intTensor([positions.length], positions) };
}

/** The inputs of one step; `timesteps`, from 0 to 1, holds one number for all pictures, or one each. */
export function auraFlowStepInputs(latents: FloatTensor, timesteps: readonly number[]): Record<string, Tensor> {
  return { latents, timestep: timestepEmbedding(timesteps, PROJECTION_CHANNELS, TIMESTEP_SCALE) };
}

/** Where in the square of learned positions each patch lies: the picture takes the middle. */
function middlePositions(config: AuraFlowConfig, size: AuraFlowSize): number[] {
  checkAuraFlowSize(config, size);
  const side = positionSide(config);
  const { rows, columns } = patchGrid(config, size);
  const top = Math.floor(side / 2) - Math.floor(rows / 2);
  const left = Math.floor(side / 2) - Math.floor(columns / 2);
  return Array.from({ length: rows * columns }, (_, i) => (top + Math.floor(i / columns)) * side + left + (i % columns));
}

function patchGrid(config: AuraFlowConfig, size: Pick<AuraFlowSize, "latentHeight" | "latentWidth">): { rows: number; columns: number } {
  return { rows: size.latentHeight / config.patch_size, columns: size.latentWidth / config.patch_size };
}

function embed(g: Graph, weights: Weights, config: AuraFlowConfig, size: AuraFlowSize, state: State): State {
  const width = innerWidth(config);
  const encoded = state.encoder_hidden_states as Value;
  const text = linear(g, weights.at("context_embedder"), encoded, { out: config.caption_projection_dim, bias: false, faithful: true });
  const registers = weightValue(g, weights.tensor("register_tokens", [1, REGISTER_TOKENS, width]), { after: encoded });
  const perPicture = concat(g, Array<Value>(size.batch).fill(registers), 0);
  return {
    hidden: embedPatches(g, weights.at("pos_embed"), config, size, state),
    text: concat(g, [perPicture, text], 1),
    conditioning: silu(g, twoLinear(g, weights.at("time_step_proj"), state.timestep as Value, width, silu)),
  };
}

/** Patches, projected, plus the positions' rows of the stored table, which are widened only when picked. */
function embedPatches(g: Graph, weights: Weights, config: AuraFlowConfig, size: AuraFlowSize, state: State): Value {
  const width = innerWidth(config);
  const patch = config.patch_size;
  const { rows, columns } = patchGrid(config, size);
  const pixels = reshape(g, state.latents as Value, [size.batch, config.in_channels, rows, patch, columns, patch]);
  const patches = reshape(g, transpose(g, pixels, [0, 2, 4, 1, 3, 5]), [size.batch, rows * columns, config.in_channels * patch * patch]);
  const stored = weights.tensor("pos_embed", [1, config.pos_embed_max_size, width]);
  checkFloat(stored);
  const table = reshape(g, g.weight(stored), [config.pos_embed_max_size, width]);
  const picked = gather(g, table, state.positions as Value);
  const positions = conversions(stored.dtype, g.dtype).reduce((values, dtype) => cast(g, values, dtype), picked);
  return add(g, linear(g, weights.at("proj"), patches, { out: width, faithful: true }), positions);
}

/** AuraFlowPreFinalBlock (a modulation without a norm), projection to pixels of a patch, and the patches laid out as a picture again. */
function head(g: Graph, weights: Weights, config: AuraFlowConfig, size: AuraFlowSize, state: State): Value {
  const { rows, columns } = patchGrid(config, size);
  const hidden = state.hidden as Value;
  const tokens = hidden.shape[1] as number;
  const patches = slice(g, hidden, 1, tokens - rows * columns, tokens);
  const [scale, shift] = adaptiveVectors(g, weights.at("norm_out"), state.conditioning as Value, 2, false) as [Value, Value];
  const patch = config.patch_size;
  const out = patch * patch * config.out_channels;
  const projected = linear(g, weights.at("proj_out"), modulate(g, patches, scale, shift), { out, bias: false, faithful: true });
  return picture(g, projected, { rows, columns, patch });
}
