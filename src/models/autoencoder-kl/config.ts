/** config.json of AutoencoderKL, checked at the border. */
import * as v from "valibot";
import { layerCount, positiveInteger, positiveNumber } from "../config.ts";

const Options = v.object({
  in_channels: v.optional(positiveInteger, 3),
  out_channels: v.optional(positiveInteger, 3),
  down_block_types: v.array(v.literal("DownEncoderBlock2D")),
  up_block_types: v.array(v.literal("UpDecoderBlock2D")),
  block_out_channels: v.pipe(v.array(positiveInteger), v.minLength(1), v.maxLength(10)),
  layers_per_block: v.optional(layerCount, 1),
  act_fn: v.optional(v.literal("silu"), "silu"),
  latent_channels: v.optional(positiveInteger, 4),
  norm_num_groups: v.optional(positiveInteger, 32),
  scaling_factor: v.optional(positiveNumber, 0.18215),
  shift_factor: v.nullish(v.number()),
  latents_mean: v.nullish(v.array(v.number())),
  latents_std: v.nullish(v.array(v.number())),
  use_quant_conv: v.optional(v.boolean(), true),
  use_post_quant_conv: v.optional(v.boolean(), true),
  mid_block_add_attention: v.optional(v.boolean(), true),
});

/** The options of diffusers' class; block kinds that it knows and halftone does not are refused by name. */
export const AutoencoderKLConfigSchema = v.pipe(
  Options,
  v.check(
    ({ block_out_channels: channels, down_block_types: down, up_block_types: up }) =>
      down.length === channels.length && up.length === channels.length,
    "one down and one up block for each of block_out_channels",
  ),
  v.check(
    ({ block_out_channels: channels, norm_num_groups: groups }) => channels.every((count) => count % groups === 0),
    "block_out_channels that norm_num_groups divides",
  ),
);

/** A checked AutoencoderKL config. */
export type AutoencoderKLConfig = v.InferOutput<typeof AutoencoderKLConfigSchema>;

/** Pixels per latent pixel, a side: every block but the last halves the size. */
export function vaeScaleFactor(config: AutoencoderKLConfig): number {
  return 2 ** (config.block_out_channels.length - 1);
}
