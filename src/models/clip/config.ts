/** config.json of CLIP's text encoders (transformers CLIPTextConfig), checked at the border. */
import * as v from "valibot";
import { layerCount, positiveInteger, positiveNumber } from "../config.ts";

/** The options that shape the encoder; others are ignored, as transformers does. */
export const ClipTextConfigSchema = v.pipe(
  v.object({
    vocab_size: v.optional(positiveInteger, 49408),
    hidden_size: v.optional(positiveInteger, 512),
    intermediate_size: v.optional(positiveInteger, 2048),
    projection_dim: v.optional(positiveInteger, 512),
    num_hidden_layers: v.optional(layerCount, 12),
    num_attention_heads: v.optional(positiveInteger, 8),
    max_position_embeddings: v.optional(positiveInteger, 77),
    hidden_act: v.optional(v.picklist(["quick_gelu", "gelu"]), "quick_gelu"),
    layer_norm_eps: v.optional(positiveNumber, 1e-5),
    eos_token_id: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 49407),
  }),
  v.check(
    ({ hidden_size, num_attention_heads }) => hidden_size % num_attention_heads === 0,
    "a hidden_size that is a multiple of num_attention_heads",
  ),
);

/** A checked CLIP text config. */
export type ClipTextConfig = v.InferOutput<typeof ClipTextConfigSchema>;
