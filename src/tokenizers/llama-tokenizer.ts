/**
 * Llama's tokenizer, as AuraFlow has it. A text becomes ids in five steps: added tokens are cut out; in what lies between, spaces become "▁"
 * and one more stands at the beginning; neighbours are merged in the order of the merge list; characters that the vocabulary lacks are
 * written as their bytes; the ids that the post-processor says go around it all.
 *
 * Merging and bytes are done by the BPE of @huggingface/tokenizers. What is done around it is ours: that library leaves a gap where a
 * vocabulary has neither a character nor its bytes, while in the reference what stands around it becomes neighbours.
 * Source: transformers models/llama/tokenization_llama.py@5.23.0; tokenizers models/bpe/model.rs, pre_tokenizers/metaspace.rs,
 * decoders/byte_fallback.rs @0.23; differs: a lone surrogate, which Python cannot encode, reads as U+FFFD.
 */
import { BPE } from "@huggingface/tokenizers";
import { type AddedToken, AddedTokens, type Section } from "./added-tokens.ts";
import type { BpeModel } from "./bpe-model.ts";
import type { DecodeOptions, Tokenizer } from "./tokenizer.ts";

const SPACE_MARK = "▁";
const BYTE = /^<0x([0-9a-fA-F]{2})>$/;
const utf8 = new TextEncoder();

/** Everything that decides the ids of a Llama tokenizer. */
export interface LlamaDefinition {
  readonly model: BpeModel;
  /** In the order in which they get their ids. */
  readonly addedTokens: readonly AddedToken[];
  /** Texts of the tokens that stand before and after every text, if any. */
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly padToken: string;
  readonly paddingSide: "left" | "right";
  /** Which stretches between added tokens get a space before them: all, the one at the text's beginning, or none. */
  readonly prefixSpace: "always" | "first" | "never";
  readonly modelMaxLength: number;
  /** Whether "</s>" in a text is ordinary text. */
  readonly splitSpecialTokens: boolean;
}

/** LlamaTokenizer of transformers; loadTokenizer makes it from a folder. */
export class LlamaTokenizer implements Tokenizer {
  readonly className = "LlamaTokenizer";
  readonly size: number;
  readonly padTokenId: number;
  readonly eosTokenId: number | undefined;
  readonly modelMaxLength: number;
  readonly paddingSide: "left" | "right";
  readonly #bosTokenId: number | undefined;
  readonly #model: BPE;
  readonly #added: AddedTokens;
  readonly #split: (text: string) => Section[];
  readonly #prefixSpace: LlamaDefinition["prefixSpace"];
  /** Whether every character has an id of its own or those of its bytes. */
  readonly #spellsAll: boolean;

  constructor(definition: LlamaDefinition) {
    const { vocabulary, merges } = definition.model;
    this.#model = new BPE({ type: "BPE", vocab: vocabulary, merges, byte_fallback: true });
    const ids = this.#model.tokens_to_ids;
    this.#added = new AddedTokens(
      ids.size,
      (content) => ids.get(content),
      (text) => text,
    );
    for (const token of definition.addedTokens) this.#added.add(token);
    this.#split = this.#added.splitter(definition.splitSpecialTokens);
    this.#prefixSpace = definition.prefixSpace;
    this.#spellsAll = Array.from({ length: 256 }, (_, byte) => byteToken(byte)).every((token) => ids.has(token));
    this.size = this.#added.size;
    this.padTokenId = this.#idOf(definition.padToken);
    this.#bosTokenId = definition.bosToken === undefined ? undefined : this.#idOf(definition.bosToken);
    this.eosTokenId = definition.eosToken === undefined ? undefined : this.#idOf(definition.eosToken);
    this.paddingSide = definition.paddingSide;
    this.modelMaxLength = definition.modelMaxLength;
  }

  encode(text: string): number[] {
    const ids: number[] = this.#bosTokenId === undefined ? [] : [this.#bosTokenId];
    for (const [index, section] of this.#split(text.replace(/\p{Surrogate}/gu, "\ufffd")).entries()) {
      if (typeof section === "number") ids.push(section);
      else
        for (const token of this.#model.encode([this.#marked(section, index === 0)]))
          ids.push(this.#model.tokens_to_ids.get(token) as number);
    }
    if (this.eosTokenId !== undefined) ids.push(this.eosTokenId);
    return ids;
  }

  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const tokens = this.#added.decoded(ids, this.#model.vocab, options);
    const text = spellBytes(tokens.map((token) => token.replaceAll(SPACE_MARK, " ")));
    return this.#prefixSpace === "never" ? text : text.replace(/^ /, "");
  }

  /** A stretch of text as it is merged: marks for spaces, and no character that cannot be written. */
  #marked(section: string, isFirst: boolean): string {
    const marked = section.replaceAll(" ", SPACE_MARK);
    const takesMark = this.#prefixSpace === "always" || (this.#prefixSpace === "first" && isFirst);
    const whole = takesMark && !marked.startsWith(SPACE_MARK) ? SPACE_MARK + marked : marked;
    return this.#spellsAll ? whole : Array.from(whole, (character) => (this.#spells(character) ? character : "")).join("");
  }

  #spells(character: string): boolean {
    const ids = this.#model.tokens_to_ids;
    return ids.has(character) || Array.from(utf8.encode(character), byteToken).every((token) => ids.has(token));
  }

  /** Named tokens are added tokens, so there is always an id. */
  #idOf(token: string): number {
    return this.#added.idOf(token) as number;
  }
}

function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
}

/** Joins tokens; bytes in a row become the characters that they write, or U+FFFD each. */
function spellBytes(tokens: readonly string[]): string {
  const parts: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length > 0) parts.push(fromUtf8(bytes));
    bytes = [];
  };
  for (const token of tokens) {
    const byte = BYTE.exec(token)?.[1];
    if (byte !== undefined) bytes.push(Number.parseInt(byte, 16));
    else {
      flush();
      parts.push(token);
    }
  }
  flush();
  return parts.join("");
}

function fromUtf8(bytes: readonly number[]): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return "\ufffd".repeat(bytes.length);
  }
}
