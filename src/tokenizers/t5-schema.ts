/**
 * What the JSON files of a T5 tokenizer may hold, as far as ids depend on it; other keys are ignored.
 */
import * as v from "valibot";

const flags = {
  single_word: v.optional(v.boolean()),
  lstrip: v.optional(v.boolean()),
  rstrip: v.optional(v.boolean()),
  normalized: v.optional(v.boolean()),
  special: v.optional(v.boolean()),
};
const tokenObject = v.object({ content: v.string(), ...flags });
const token = v.union([v.string(), tokenObject]);

/** The tokens that have a name of their own, in transformers' order. */
export const TOKEN_NAMES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"] as const;

const namedTokens = v.object({
  bos_token: v.nullish(token),
  eos_token: v.optional(token),
  unk_token: v.optional(token),
  sep_token: v.nullish(token),
  pad_token: v.optional(token),
  cls_token: v.nullish(token),
  mask_token: v.nullish(token),
});
const tokenLists = v.object({
  additional_special_tokens: v.nullish(v.array(token)),
  extra_special_tokens: v.nullish(v.union([v.array(token), v.record(v.string(), v.unknown())])),
});

/** special_tokens_map.json, which old repositories have beside their config. */
export const specialTokensMapSchema = v.object({ ...namedTokens.entries, ...tokenLists.entries });

/** tokenizer_config.json. */
export const configSchema = v.object({
  ...namedTokens.entries,
  ...tokenLists.entries,
  tokenizer_class: v.nullish(v.string()),
  extra_ids: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100_000)), 100),
  added_tokens_decoder: v.optional(v.record(v.pipe(v.string(), v.regex(/^\d{1,9}$/)), tokenObject)),
  model_max_length: v.nullish(v.number()),
  max_len: v.nullish(v.number()),
  split_special_tokens: v.nullish(v.boolean()),
  clean_up_tokenization_spaces: v.nullish(v.boolean()),
  padding_side: v.optional(v.string()),
  truncation_side: v.optional(v.string()),
});

/** added_tokens.json, which old repositories have: text to id. */
export const addedTokensSchema = v.record(v.string(), v.pipe(v.number(), v.integer(), v.minValue(0)));

/** tokenizer.json, with all types of model, so that a wrong one can be named. */
export const tokenizerJsonSchema = v.object({
  model: v.object({ type: v.nullish(v.string()), vocab: v.unknown() }),
  normalizer: v.nullish(
    v.object({
      type: v.string(),
      precompiled_charsmap: v.nullish(v.string()),
      normalizers: v.nullish(v.array(v.object({ type: v.string(), precompiled_charsmap: v.nullish(v.string()) }))),
    }),
  ),
  added_tokens: v.array(v.object({ id: v.pipe(v.number(), v.integer(), v.minValue(0)), ...tokenObject.entries })),
});

/** The pieces of a unigram model in tokenizer.json. */
export const unigramVocabularySchema = v.array(v.strictTuple([v.string(), v.pipe(v.number(), v.finite())]));

export type T5Config = v.InferOutput<typeof configSchema>;
export type SpecialTokensMap = v.InferOutput<typeof specialTokensMapSchema>;
export type TokenizerJson = v.InferOutput<typeof tokenizerJsonSchema>;
/** A token as JSON writes it: its text, or an object with flags. */
export type TokenEntry = v.InferOutput<typeof token>;
