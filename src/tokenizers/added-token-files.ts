/**
 * Which added tokens a tokenizer has and in which order they get ids: a merge of up to four JSON files that grew over the years.
 *
 * Order: `added_tokens_decoder` by id; then the named tokens (bos, eos, unk, pad…); then the extra special tokens, which are those of the
 * config or, without any there, what the class makes of the older list. A token whose text is a piece takes that piece's id.
 * Source: transformers tokenization_utils_base.py (_from_pretrained, __init__), tokenization_utils_tokenizers.py (__init__), @5.23.0.
 */
import { CheckpointError, UnsupportedError } from "../errors.ts";
import type { AddedToken } from "./added-tokens.ts";
import { type SpecialTokensMap, TOKEN_NAMES, type TokenEntry, type TokenizerConfig, type TokenizerJsonFiles } from "./tokenizer-config.ts";

/** Name of a token that transformers knows by its use. */
export type TokenName = (typeof TOKEN_NAMES)[number];

/** What a class says of its added tokens. */
export interface ClassTokens {
  /** Texts of its named tokens, unless a file has others. */
  readonly named: readonly (readonly [TokenName, string])[];
  /** Its extra special tokens where no file has `extra_special_tokens`; `listed` are the files' `additional_special_tokens`. */
  additional(listed: readonly TokenEntry[]): readonly TokenEntry[];
}

/** Added tokens in the order in which they get ids, and the texts of the named ones. */
export interface MergedTokens {
  readonly tokens: readonly AddedToken[];
  /** Throws a CheckpointError when there is no such token. */
  readonly textOf: (name: TokenName) => string;
  readonly find: (name: TokenName) => string | undefined;
}

/**
 * Merges the files as transformers does.
 *
 * Errors: UnsupportedError for named extra tokens.
 */
export function mergeAddedTokens(files: TokenizerJsonFiles, ofClass: ClassTokens, where: string): MergedTokens {
  const { config } = files;
  const named = new Map<TokenName, TokenEntry>(ofClass.named);
  const lists = new SpecialLists(config, where);
  setNamed(named, config, false);
  const isLegacy = config.added_tokens_decoder === undefined;
  if (isLegacy && files.specialTokensMap !== undefined) {
    setNamed(named, files.specialTokensMap, true);
    lists.merge(files.specialTokensMap);
  }
  const decoder = isLegacy ? legacyDecoder(files, named, lists.extra) : configDecoder(config);

  const tokens = new Map([...decoder].sort(([a], [b]) => a - b).map(([, token]) => [token.content, token]));
  const names = TOKEN_NAMES.map((name) => named.get(name)).filter((entry) => entry !== undefined);
  // A token given as an object and again as its text is added twice, and the later one decides; two of the same kind are one.
  const known = new Set([...tokens.keys()].flatMap((text) => [`string ${text}`, `object ${text}`]));
  for (const entry of [...names, ...lists.finish(ofClass)]) {
    const key = `${typeof entry} ${textOf(entry)}`;
    if (!known.has(key)) tokens.set(textOf(entry), toToken(entry));
    known.add(key);
  }
  for (const text of names.map(textOf)) tokens.set(text, { ...(tokens.get(text) as AddedToken), special: true });
  const find = (name: TokenName) => {
    const entry = named.get(name);
    return entry && textOf(entry);
  };
  return {
    tokens: [...tokens.values()],
    find,
    textOf: (name) => {
      const text = find(name);
      if (text === undefined) throw new CheckpointError(`the tokenizer has no ${name}`, { where });
      return text;
    },
  };
}

/** The text of a token. */
export function textOf(entry: TokenEntry): string {
  return typeof entry === "string" ? entry : entry.content;
}

/** The two lists of extra special tokens, the older one of which the newer one replaces. */
class SpecialLists {
  /** undefined: the key is in no file; null: a file says there are none. */
  extra: readonly TokenEntry[] | null | undefined;
  #additional: readonly TokenEntry[] | null | undefined;
  readonly #where: string;

  constructor(config: TokenizerConfig, where: string) {
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
  finish(ofClass: ClassTokens): readonly TokenEntry[] {
    const older = ofClass.additional(this.#additional ?? []);
    return this.extra === undefined ? older : (this.extra ?? []);
  }

  #listOf(value: TokenizerConfig["extra_special_tokens"]): readonly TokenEntry[] | null | undefined {
    if (value === undefined || value === null || Array.isArray(value)) return value;
    throw new UnsupportedError(`the tokenizer's extra_special_tokens are named (${Object.keys(value)[0]}), which halftone does not read`, {
      where: this.#where,
    });
  }
}

function setNamed(named: Map<TokenName, TokenEntry>, source: SpecialTokensMap, objectsAreSpecial: boolean): void {
  for (const name of TOKEN_NAMES) {
    const entry = source[name];
    if (entry === null) named.delete(name);
    else if (entry !== undefined) named.set(name, objectsAreSpecial && typeof entry === "object" ? { ...entry, special: true } : entry);
  }
}

function configDecoder(config: TokenizerConfig): Map<number, AddedToken> {
  return new Map(Object.entries(config.added_tokens_decoder ?? {}).map(([id, entry]) => [Number(id), toToken(entry)]));
}

/** added_tokens.json and, over it, the added tokens of tokenizer.json. */
function legacyDecoder(
  files: TokenizerJsonFiles,
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
