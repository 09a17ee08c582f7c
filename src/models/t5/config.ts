/** config.json of T5's and UMT5's encoder (transformers T5Config, UMT5Config), checked at the border. */
import * as v from "valibot";
import { layerCount, positiveInteger, positiveNumber } from "../config.ts";

/** The options that shape the encoder; others are ignored, as transformers does. */
export const T5ConfigSchema = v.object({
  vocab_size: positiveInteger,
  d_model: positiveInteger,
  d_kv: positiveInteger,
  d_ff: positiveInteger,
  num_layers: layerCount,
  num_heads: positiveInteger,
  relative_attention_num_buckets: v.optional(positiveInteger, 32),
  relative_attention_max_distance: v.optional(positiveInteger, 128),
  layer_norm_epsilon: v.optional(positiveNumber, 1e-6),
  feed_forward_proj: v.optional(v.picklist(["relu", "gated-gelu"]), "relu"),
});

/** A checked T5 config. */
export type T5Config = v.InferOutput<typeof T5ConfigSchema>;

/** UMT5's options are T5's with another default. */
export const UMT5ConfigSchema = v.object({
  ...T5ConfigSchema.entries,
  feed_forward_proj: v.optional(v.picklist(["relu", "gated-gelu"]), "gated-gelu"),
});
