/**
 * T5's tokenizer. A text becomes ids in six steps: added tokens are cut out; what lies between is normalized by the model's charsmap, split
 * at white space, and each word, with "▁" before it, is cut into the pieces whose scores have the highest sum; unknown characters in a row
 * become one unknown id; eos ends it all.
 *
 * The highest sum is found by the Unigram of @huggingface/tokenizers. The rest of that library's chain is not used, as its ids differ from
 * the reference (the multilingual fixture: 20 of 627 strings even with the charsmap, 51 with its own normalizer): it splits at U+FEFF but not at U+0085,
 * takes text that only normalizes to "</s>" for the token, gives "<unk>" no score of its own, and joins unknown characters in time that
 * grows with the square of their number (20,000: 0.6 s; here all of it takes 0.1 s).
 * Source: transformers models/t5/tokenization_t5.py@5.23.0, its unknown id of 2 for every model included; differs: a lone surrogate, which
 * Python cannot encode, reads as U+FFFD.
 */
import { Unigram } from "@huggingface/tokenizers";
import { type AddedToken, AddedTokens, type Section } from "./added-tokens.ts";
import type { Charsmap } from "./charsmap.ts";
import type { ScoredPiece } from "./sentence-piece.ts";
import type { DecodeOptions, Tokenizer } from "./tokenizer.ts";

/** The id of unknown characters, whatever the model file says. */
export const UNKNOWN_ID = 2;
const SPACE_MARK = "▁";

/** Everything that decides the ids of a T5 tokenizer. */
export interface T5Definition {
  /** Pieces by id; at least three. */
  readonly pieces: ScoredPiece[];
  readonly charsmap: Charsmap | undefined;
  /** In the order in which they get their ids. */
  readonly addedTokens: readonly AddedToken[];
  /** Texts of added tokens. */
  readonly eosToken: string;
  readonly padToken: string;
  readonly modelMaxLength: number;
  /** Whether "</s>" in a text is ordinary text. */
  readonly splitSpecialTokens: boolean;
  /** Whether decoded text loses the spaces before punctuation. */
  readonly cleansUpSpaces: boolean;
}

/** T5Tokenizer of transformers; loadTokenizer makes it from a folder. */
export class T5Tokenizer implements Tokenizer {
  readonly className = "T5Tokenizer";
  readonly size: number;
  readonly padTokenId: number;
  readonly eosTokenId: number;
  readonly modelMaxLength: number;
  readonly #model: Unigram;
  readonly #added: AddedTokens;
  readonly #split: (text: string) => Section[];
  readonly #cleansUpSpaces: boolean;

  constructor(definition: T5Definition) {
    const { pieces, charsmap } = definition;
    this.#model = new Unigram({ type: "Unigram", unk_id: UNKNOWN_ID, vocab: pieces }, definition.eosToken);
    this.#model.scores[UNKNOWN_ID] = (pieces[UNKNOWN_ID] as ScoredPiece)[1];
    const pieceIdOf = (content: string) => this.#model.tokens_to_ids.get(content);
    this.#added = new AddedTokens(pieces.length, pieceIdOf, (text) => charsmap?.normalize(text) ?? text);
    for (const token of definition.addedTokens) this.#added.add(token);
    this.#split = this.#added.splitter(definition.splitSpecialTokens);
    this.#cleansUpSpaces = definition.cleansUpSpaces;
    this.size = this.#added.size;
    this.padTokenId = this.#idOf(definition.padToken);
    this.eosTokenId = this.#idOf(definition.eosToken);
    this.modelMaxLength = definition.modelMaxLength;
  }

  encode(text: string): number[] {
    const ids: number[] = [];
    for (const section of this.#split(text.replace(/\p{Surrogate}/gu, "\ufffd"))) {
      if (typeof section === "number") ids.push(section);
      else for (const word of wordsOf(section)) this.#encodeWord(word, ids);
    }
    ids.push(this.eosTokenId);
    return ids;
  }

  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const tokens = this.#added.decoded(ids, this.#model.vocab, options);
    const text = tokens.map((token, index) => token.replaceAll(SPACE_MARK, index === 0 ? "" : " ")).join("");
    return this.#cleansUpSpaces ? cleanUpSpaces(text) : text;
  }

  #encodeWord(word: string, ids: number[]): void {
    let previous: number | undefined;
    for (const piece of this.#model.tokenize(word)) {
      const id = this.#model.tokens_to_ids.get(piece) ?? UNKNOWN_ID;
      if (id !== UNKNOWN_ID || previous !== UNKNOWN_ID) ids.push(id);
      previous = id;
    }
  }

  #idOf(token: string): number {
    return this.#added.idOf(token) ?? this.#model.tokens_to_ids.get(token) ?? UNKNOWN_ID;
  }
}

/** Words of normalized text, each with a mark before it; a mark within begins another word. */
function wordsOf(text: string): string[] {
  const chunks = text.match(/\P{White_Space}+/gu) ?? [];
  return chunks.flatMap((chunk) => (chunk.startsWith(SPACE_MARK) ? chunk : SPACE_MARK + chunk).match(/▁[^▁]*/g) ?? []);
}

/** Takes the spaces away that tokenization leaves before English punctuation and short forms. */
function cleanUpSpaces(text: string): string {
  return text
    .replaceAll(/ ([.?!,])/g, "$1")
    .replaceAll(" ' ", "'")
    .replaceAll(/ (n't|'m|'s|'ve|'re)/g, "$1");
}
