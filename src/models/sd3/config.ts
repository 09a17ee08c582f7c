/** config.json of SD3Transformer2DModel (Stable Diffusion 3 and 3.5), checked at the border. */
import * as v from "valibot";
import { layerCount, positiveInteger } from "../config.ts";

const Options = v.object({
  sample_size: v.optional(positiveInteger, 128),
  patch_size: v.optional(positiveInteger, 2),
  in_channels: v.optional(positiveInteger, 16),
  num_layers: v.optional(layerCount, 18),
  attention_head_dim: v.optional(positiveInteger, 64),
  num_attention_heads: v.optional(positiveInteger, 18),
  joint_attention_dim: v.optional(positiveInteger, 4096),
  caption_projection_dim: v.optional(positiveInteger, 1152),
  pooled_projection_dim: v.optional(positiveInteger, 2048),
  // null means as many as in_channels, so it must not become the default.
  out_channels: v.optional(v.nullable(positiveInteger), 16),
  pos_embed_max_size: v.optional(positiveInteger, 96),
  dual_attention_layers: v.optional(v.pipe(v.array(v.pipe(v.number(), v.integer())), v.maxLength(1000)), []),
  qk_norm: v.nullish(v.literal("rms_norm")),
});

/** The options of diffusers' class, with its defaults; what its forward pass refuses, and norms that no checkpoint has, are refused by name. */
export const SD3ConfigSchema = v.pipe(
  Options,
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { caption_projection_dim: value, num_attention_heads: heads, attention_head_dim: headDim } = dataset.value;
    if (value === heads * headDim) return;
    const path = { type: "object", origin: "value", input: dataset.value, key: "caption_projection_dim", value } as const;
    addIssue({ message: `${heads * headDim} as the blocks have (num_attention_heads * attention_head_dim)`, input: value, path: [path] });
  }),
);

/** A checked SD3 config. */
export type SD3Config = v.InferOutput<typeof SD3ConfigSchema>;
