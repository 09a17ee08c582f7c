/**
 * Which added tokens a T5 tokenizer has and in which order they get ids: a merge of up to four JSON files that grew over the years.
 *
 * Order: `added_tokens_decoder` by id; then the named tokens (eos, unk, pad…); then the extra special tokens, which are those of the config
 * or, without any there, the symbols of spiece.model and the sentinels "<extra_id_N>". A token whose text is a piece takes that piece's id,
 * so sentinels usually run downwards from "<extra_id_99>", as the pieces made for them do.
 * Source: transformers tokenization_utils_base.py (_from_pretrained, __init__), tokenization_utils_tokenizers.py (__init__),
 * models/t5/tokenization_t5.py, all @5.23.0.
 */
import { CheckpointError, UnsupportedError } from "../errors.ts";
import type { AddedToken } from "./added-tokens.ts";
import { type SpecialTokensMap, type T5Config, TOKEN_NAMES, type TokenEntry, type TokenizerJson } from "./t5-schema.ts";

type TokenName = (typeof TOKEN_NAMES)[number];

/** The files that decide a T5 tokenizer's added tokens; what a folder lacks is undefined. */
export interface AddedTokenFiles {
  readonly config: T5Config;
  readonly specialTokensMap: SpecialTokensMap | undefined;
  readonly addedTokens: Readonly<Record<string, number>> | undefined;
  readonly tokenizerJson: TokenizerJson | undefined;
  /** Symbols of spiece.model, when the pieces come from there. */
  readonly symbols: readonly { readonly content: string; readonly isControl: boolean }[] | undefined;
}

/** Added tokens in the order in which they get ids, and the texts of the two that every T5 tokenizer needs. */
export interface MergedTokens {
  readonly tokens: readonly AddedToken[];
  readonly eosToken: string;
  readonly padToken: string;
}

/** Returns the sentinels "<extra_id_0>", "<extra_id_1>"… */
export function sentinels(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `<extra_id_${index}>`);
}

/**
 * Merges the files as transformers does.
 *
 * Errors: UnsupportedError for named extra tokens; CheckpointError when extra_ids contradicts the listed sentinels.
 */
export function mergeAddedTokens(files: AddedTokenFiles, where: string): MergedTokens {
  const { config } = files;
  const named = new Map<TokenName, TokenEntry>([
    ["eos_token", "</s>"],
    ["unk_token", "<unk>"],
    ["pad_token", "<pad>"],
  ]);
  const lists = new SpecialLists(config, where);
  setNamed(named, config, false);
  const isLegacy = config.added_tokens_decoder === undefined;
  if (isLegacy && files.specialTokensMap !== undefined) {
    setNamed(named, files.specialTokensMap, true);
    lists.merge(files.specialTokensMap);
  }
  const decoder = isLegacy ? legacyDecoder(files, named, lists.extra) : configDecoder(config);
  const extra = lists.finish(files.symbols, config.extra_ids);

  const tokens = new Map([...decoder].sort(([a], [b]) => a - b).map(([, token]) => [token.content, token]));
  for (const name of TOKEN_NAMES) {
    const entry = named.get(name);
    if (entry === undefined) continue;
    const token = tokens.get(textOf(entry)) ?? toToken(entry);
    tokens.set(token.content, { ...token, special: true });
  }
  for (const entry of extra) if (!tokens.has(textOf(entry))) tokens.set(textOf(entry), toToken(entry));
  return {
    tokens: [...tokens.values()],
    eosToken: textOf(named.get("eos_token") as TokenEntry),
    padToken: textOf(named.get("pad_token") as TokenEntry),
  };
}

/** The two lists of extra special tokens, the older one of which the newer one replaces. */
class SpecialLists {
  /** undefined: the key is in no file; null: a file says there are none. */
  extra: readonly TokenEntry[] | null | undefined;
  #additional: readonly TokenEntry[] | null | undefined;
  readonly #where: string;

  constructor(config: T5Config, where: string) {
    this.#where = where;
    this.extra = this.#listOf(config.extra_special_tokens);
    this.#additional = config.additional_special_tokens;
    if (this.#additional !== undefined && (this.extra ?? []).length === 0) {
      this.extra = this.#additional;
      this.#additional = undefined;
    }
  }

  /** Takes over what special_tokens_map.json says. */
  merge(map: SpecialTokensMap): void {
    const extra = this.#listOf(map.extra_special_tokens);
    if (extra !== undefined) this.extra = [...(this.extra ?? []), ...(extra ?? [])];
    if (map.additional_special_tokens !== undefined) this.#additional = map.additional_special_tokens;
  }

  /** Returns the extra special tokens. */
  finish(symbols: AddedTokenFiles["symbols"], extraIds: number): readonly TokenEntry[] {
    const additional =
      symbols?.map(({ content, isControl }) => ({ content, special: isControl, normalized: false })) ?? this.#additional ?? [];
    const listed = additional.filter((entry) => textOf(entry).includes("<extra_id_")).length;
    if (listed > 0 && extraIds > 0 && listed !== extraIds) {
      throw new CheckpointError(`the tokenizer's extra_ids must be the number of listed <extra_id_N> tokens, ${listed}, got ${extraIds}`, {
        where: this.#where,
      });
    }
    const older = listed > 0 ? additional : [...additional, ...sentinels(extraIds)];
    return this.extra === undefined ? older : (this.extra ?? []);
  }

  #listOf(value: T5Config["extra_special_tokens"]): readonly TokenEntry[] | null | undefined {
    if (value === undefined || value === null || Array.isArray(value)) return value;
    throw new UnsupportedError(`the tokenizer's extra_special_tokens are named (${Object.keys(value)[0]}), which halftone does not read`, {
      where: this.#where,
    });
  }
}

function setNamed(named: Map<TokenName, TokenEntry>, source: SpecialTokensMap, objectsAreSpecial: boolean): void {
  for (const name of TOKEN_NAMES) {
    const entry = source[name];
    if (entry === undefined || entry === null) continue;
    named.set(name, objectsAreSpecial && typeof entry === "object" ? { ...entry, special: true } : entry);
  }
}

function configDecoder(config: T5Config): Map<number, AddedToken> {
  return new Map(Object.entries(config.added_tokens_decoder ?? {}).map(([id, entry]) => [Number(id), toToken(entry)]));
}

/** added_tokens.json and, over it, the added tokens of tokenizer.json. */
function legacyDecoder(
  files: AddedTokenFiles,
  named: ReadonlyMap<TokenName, TokenEntry>,
  extra: readonly TokenEntry[] | null | undefined,
): Map<number, AddedToken> {
  const special = new Set([...named.values(), ...(extra ?? [])].map(textOf));
  const decoder = new Map<number, AddedToken>();
  for (const [content, id] of Object.entries(files.addedTokens ?? {})) {
    decoder.set(id, toToken({ content, special: special.has(content), normalized: !special.has(content) }));
  }
  for (const entry of files.tokenizerJson?.added_tokens ?? []) decoder.set(entry.id, toToken(entry));
  return decoder;
}

function textOf(entry: TokenEntry): string {
  return typeof entry === "string" ? entry : entry.content;
}

function toToken(entry: TokenEntry): AddedToken {
  const { content, single_word, lstrip, rstrip, normalized, special } =
    typeof entry === "string" ? { content: entry, special: true } : entry;
  return {
    content,
    singleWord: single_word ?? false,
    lstrip: lstrip ?? false,
    rstrip: rstrip ?? false,
    normalized: normalized ?? !special,
    special: special ?? false,
  };
}
