/**
 * What the JSON files of a tokenizer may hold, whatever its class, as far as ids depend on it; other keys are ignored.
 */
import * as v from "valibot";
import { UnsupportedError } from "../errors.ts";
import { nameOfFile, readJson, type TokenizerFolder } from "./tokenizer-files.ts";

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
  eos_token: v.nullish(token),
  unk_token: v.nullish(token),
  sep_token: v.nullish(token),
  pad_token: v.nullish(token),
  cls_token: v.nullish(token),
  mask_token: v.nullish(token),
});
const tokenLists = v.object({
  additional_special_tokens: v.nullish(v.array(token)),
  extra_special_tokens: v.nullish(v.union([v.array(token), v.record(v.string(), v.unknown())])),
});

/** special_tokens_map.json, which old repositories have beside their config. */
const specialTokensMapSchema = v.object({ ...namedTokens.entries, ...tokenLists.entries });

/** tokenizer_config.json, without what only one class reads. */
export const tokenizerConfigSchema = v.object({
  ...namedTokens.entries,
  ...tokenLists.entries,
  tokenizer_class: v.nullish(v.string()),
  added_tokens_decoder: v.optional(v.record(v.pipe(v.string(), v.regex(/^\d{1,9}$/)), tokenObject)),
  model_max_length: v.nullish(v.number()),
  max_len: v.nullish(v.number()),
  split_special_tokens: v.nullish(v.boolean()),
  clean_up_tokenization_spaces: v.nullish(v.boolean()),
  padding_side: v.optional(v.string()),
  truncation_side: v.optional(v.string()),
});

/** added_tokens.json, which old repositories have: text to id. */
const addedTokensSchema = v.record(v.string(), v.pipe(v.number(), v.integer(), v.minValue(0)));

/** tokenizer.json, with all types of model, so that a wrong one can be named. */
const tokenizerJsonSchema = v.object({
  model: v.object({ type: v.nullish(v.string()), vocab: v.unknown(), merges: v.optional(v.unknown()) }),
  normalizer: v.nullish(
    v.object({
      type: v.string(),
      precompiled_charsmap: v.nullish(v.string()),
      normalizers: v.nullish(v.array(v.object({ type: v.string(), precompiled_charsmap: v.nullish(v.string()) }))),
    }),
  ),
  post_processor: v.optional(v.unknown()),
  /** How the tokenizer padded when it was saved. */
  padding: v.nullish(v.object({ direction: v.optional(v.string()), pad_token: v.optional(v.string()) })),
  added_tokens: v.array(v.object({ id: v.pipe(v.number(), v.integer(), v.minValue(0)), ...tokenObject.entries })),
});

export type TokenizerConfig = v.InferOutput<typeof tokenizerConfigSchema>;
export type SpecialTokensMap = v.InferOutput<typeof specialTokensMapSchema>;
export type TokenizerJson = v.InferOutput<typeof tokenizerJsonSchema>;
/** A token as JSON writes it: its text, or an object with flags. */
export type TokenEntry = v.InferOutput<typeof token>;

/** The JSON files that decide a tokenizer's added tokens; what a folder lacks is undefined. */
export interface TokenizerJsonFiles<Config extends TokenizerConfig = TokenizerConfig> {
  readonly config: Config;
  readonly specialTokensMap: SpecialTokensMap | undefined;
  readonly addedTokens: Readonly<Record<string, number>> | undefined;
  readonly tokenizerJson: TokenizerJson | undefined;
}

/**
 * Reads the JSON files of a folder; `configSchema` is that of the class, `paddingSides` are those that it follows.
 *
 * Errors: CheckpointError when a file is damaged; UnsupportedError for another side of padding, and for cutting on the left.
 */
export async function readTokenizerJsonFiles<Schema extends v.GenericSchema<unknown, TokenizerConfig>>(
  place: TokenizerFolder,
  configSchema: Schema,
  paddingSides: readonly string[] = ["right"],
): Promise<TokenizerJsonFiles<v.InferOutput<Schema>>> {
  const config = (await readJson(place, "tokenizer_config.json", configSchema)) ?? v.parse(configSchema, {});
  for (const [key, sides] of [["padding_side", paddingSides] as const, ["truncation_side", ["right"] as readonly string[]] as const]) {
    const side = config[key] ?? "right";
    if (sides.includes(side)) continue;
    const where = nameOfFile(place, "tokenizer_config.json");
    throw new UnsupportedError(`the tokenizer's ${key} "${side}" is not supported, only ${sides.map((one) => `"${one}"`).join(" or ")}`, {
      where,
    });
  }
  return {
    config,
    tokenizerJson: await readJson(place, "tokenizer.json", tokenizerJsonSchema),
    specialTokensMap: await readJson(place, "special_tokens_map.json", specialTokensMapSchema),
    addedTokens: await readJson(place, "added_tokens.json", addedTokensSchema),
  };
}

/** The longest sequence that a config allows; Python writes "no limit" as 1e30. */
export function modelMaxLengthOf(config: TokenizerConfig): number {
  const limit = config.model_max_length ?? config.max_len ?? Number.POSITIVE_INFINITY;
  return limit > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : limit;
}
