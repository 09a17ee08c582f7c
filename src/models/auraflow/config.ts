/** config.json of AuraFlowTransformer2DModel (AuraFlow 0.1 to 0.3, which differ in sizes alone), checked at the border. */
import * as v from "valibot";
import { layerCount, positiveInteger } from "../config.ts";

/** Unlike most models, AuraFlow may lack one of its two kinds of blocks. */
const optionalLayerCount = v.union([v.literal(0), layerCount], "a number of layers, up to 1000");

/** The options of diffusers' class, with its defaults; combinations that its forward pass refuses are refused here by name. */
export const AuraFlowConfigSchema = v.pipe(
  v.object({
    sample_size: v.optional(positiveInteger, 64),
    patch_size: v.optional(positiveInteger, 2),
    in_channels: v.optional(positiveInteger, 4),
    num_mmdit_layers: v.optional(optionalLayerCount, 4),
    num_single_dit_layers: v.optional(optionalLayerCount, 32),
    attention_head_dim: v.optional(positiveInteger, 256),
    num_attention_heads: v.optional(positiveInteger, 12),
    joint_attention_dim: v.optional(positiveInteger, 2048),
    caption_projection_dim: v.optional(positiveInteger, 3072),
    out_channels: v.optional(positiveInteger, 4),
    pos_embed_max_size: v.optional(positiveInteger, 1024),
  }),
  v.forward(
    v.check((config) => config.caption_projection_dim === innerWidth(config), "num_attention_heads * attention_head_dim"),
    ["caption_projection_dim"],
  ),
);

/** A checked AuraFlow config. */
export type AuraFlowConfig = v.InferOutput<typeof AuraFlowConfigSchema>;

/** Width of the blocks. */
export function innerWidth(config: { num_attention_heads: number; attention_head_dim: number }): number {
  return config.num_attention_heads * config.attention_head_dim;
}

/** Width of the feed-forward: two thirds of four times the width, rounded up to a multiple of 256. */
export function feedForwardWidth(width: number): number {
  return 256 * Math.ceil(Math.trunc((2 * 4 * width) / 3) / 256);
}

/** Patches a side that have a position of their own: the largest picture. */
export function positionSide(config: AuraFlowConfig): number {
  return Math.floor(Math.sqrt(config.pos_embed_max_size));
}
