/**
 * CLIP's tokenizer. A text becomes ids in six steps: added tokens are cut out; what lies between is composed (NFC), its white space made
 * single and its letters small; it is cut into words, short forms, single digits and runs of signs; each word is written as its bytes, the
 * last of which carries "</w>"; neighbours are merged in the order of the merge list; bos and eos go around it all.
 *
 * Merging is done by the BPE of @huggingface/tokenizers. The rest of that library's chain is not used, as it differs from the reference: a
 * capital sigma that ends a word becomes ς, added tokens that are words of the vocabulary ("!", with which Stable Diffusion 3 pads for its
 * second encoder) are not found in a text, and of the fixture's 190 rows of ids 44 are decoded to other text.
 * Source: transformers models/clip/tokenization_clip.py@5.23.0 (no ftfy); differs: a lone surrogate, which Python cannot encode, reads as
 * U+FFFD.
 */
import { BPE } from "@huggingface/tokenizers";
import { type AddedToken, AddedTokens, type Section } from "./added-tokens.ts";
import type { BpeModel } from "./bpe-model.ts";
import { fromByteCharacters, toByteCharacters } from "./byte-level.ts";
import type { DecodeOptions, Tokenizer } from "./tokenizer.ts";

const END_OF_WORD = "</w>";
const WORD = /<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;
/** The byte-level step cuts once more, which takes the two tokens above apart again where they are only text. */
const WORD_OF_WORD = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}+|[^\p{White_Space}\p{L}\p{N}]+/gu;
/** What Python's str.strip() takes off. */
const PYTHON_SPACE = "[\\p{White_Space}\\x1c-\\x1f]+";
const OUTER_SPACE = new RegExp(`^${PYTHON_SPACE}|${PYTHON_SPACE}$`, "gu");

/** Everything that decides the ids of a CLIP tokenizer. */
export interface ClipDefinition {
  readonly model: BpeModel;
  /** In the order in which they get their ids. */
  readonly addedTokens: readonly AddedToken[];
  /** Texts of added tokens. */
  readonly bosToken: string;
  readonly eosToken: string;
  readonly padToken: string;
  readonly unknownToken: string;
  readonly modelMaxLength: number;
  /** Whether "<|endoftext|>" in a text is ordinary text. */
  readonly splitSpecialTokens: boolean;
}

/** CLIPTokenizer of transformers; loadTokenizer makes it from a folder. */
export class ClipTokenizer implements Tokenizer {
  readonly className = "CLIPTokenizer";
  readonly size: number;
  readonly padTokenId: number;
  readonly eosTokenId: number;
  readonly modelMaxLength: number;
  readonly #bosTokenId: number;
  readonly #unknownId: number;
  readonly #model: BPE;
  readonly #added: AddedTokens;
  readonly #split: (text: string) => Section[];

  constructor(definition: ClipDefinition) {
    const {
      model: { vocabulary, merges },
      unknownToken,
    } = definition;
    this.#model = new BPE({ type: "BPE", vocab: vocabulary, merges, unk_token: unknownToken, end_of_word_suffix: END_OF_WORD });
    const ids = this.#model.tokens_to_ids;
    this.#added = new AddedTokens(ids.size, (content) => ids.get(content), normalized);
    for (const token of definition.addedTokens) this.#added.add(token);
    this.#split = this.#added.splitter(definition.splitSpecialTokens);
    this.size = this.#added.size;
    this.#unknownId = this.#idOf(unknownToken);
    this.#bosTokenId = this.#idOf(definition.bosToken);
    this.padTokenId = this.#idOf(definition.padToken);
    this.eosTokenId = this.#idOf(definition.eosToken);
    this.modelMaxLength = definition.modelMaxLength;
  }

  encode(text: string): number[] {
    const ids = [this.#bosTokenId];
    for (const section of this.#split(text.replace(/\p{Surrogate}/gu, "\ufffd"))) {
      if (typeof section === "number") ids.push(section);
      else for (const word of wordsOf(section)) this.#encodeWord(word, ids);
    }
    ids.push(this.eosTokenId);
    return ids;
  }

  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const tokens = this.#added.decoded(ids, this.#model.vocab, options);
    return fromByteCharacters(tokens).replaceAll(END_OF_WORD, " ").replace(OUTER_SPACE, "");
  }

  #encodeWord(word: string, ids: number[]): void {
    for (const piece of this.#model.bpe(toByteCharacters(word))) ids.push(this.#model.tokens_to_ids.get(piece) ?? this.#unknownId);
  }

  /** Named tokens are added tokens, so there is always an id. */
  #idOf(token: string): number {
    return this.#added.idOf(token) as number;
  }
}

/** Letters are made small one by one: a capital sigma at the end of a word, too, becomes σ. */
function normalized(text: string): string {
  const spaced = text.normalize("NFC").replaceAll(/\p{White_Space}+/gu, " ");
  return Array.from(spaced, (character) => character.toLowerCase()).join("");
}

function wordsOf(text: string): string[] {
  return (text.match(WORD) ?? []).flatMap((word) => word.match(WORD_OF_WORD) ?? []);
}
