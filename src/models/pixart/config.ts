/** config.json of PixArtTransformer2DModel (PixArt-α and PixArt-Σ), checked at the border. */
import * as v from "valibot";
import { layerCount, positiveInteger, positiveNumber } from "../config.ts";

/** The options of diffusers' class, with its defaults; combinations that its forward pass refuses are refused here by name. */
export const PixArtConfigSchema = v.object({
  num_attention_heads: v.optional(positiveInteger, 16),
  attention_head_dim: v.optional(positiveInteger, 72),
  in_channels: v.optional(positiveInteger, 4),
  // null means as many as in_channels, so it must not become the default.
  out_channels: v.optional(v.nullable(positiveInteger), 8),
  num_layers: v.optional(layerCount, 28),
  cross_attention_dim: v.optional(positiveInteger, 1152),
  attention_bias: v.optional(v.boolean(), true),
  sample_size: v.optional(positiveInteger, 128),
  patch_size: v.optional(positiveInteger, 2),
  activation_fn: v.optional(v.literal("gelu-approximate"), "gelu-approximate"),
  norm_type: v.optional(v.literal("ada_norm_single"), "ada_norm_single"),
  norm_elementwise_affine: v.optional(v.boolean(), false),
  norm_eps: v.optional(positiveNumber, 1e-6),
  interpolation_scale: v.nullish(positiveNumber),
  use_additional_conditions: v.nullish(v.boolean()),
  caption_channels: v.nullish(positiveInteger),
  attention_type: v.nullish(v.literal("default"), "default"),
});

/** A checked PixArt config. */
export type PixArtConfig = v.InferOutput<typeof PixArtConfigSchema>;

/** Whether the timestep embedding also takes resolution and aspect ratio: as stated or, unstated, for a sample_size of 128. */
export function usesAdditionalConditions(config: PixArtConfig): boolean {
  return config.use_additional_conditions ?? config.sample_size === 128;
}
