/**
 * The part of @huggingface/tokenizers that is used. Its own declarations import without file extensions, which TypeScript's `nodenext`
 * resolution does not follow (0.2.0).
 */
declare module "@huggingface/tokenizers" {
  /** A unigram model: cuts a word into the pieces whose scores have the highest sum. */
  export class Unigram {
    constructor(config: { type: "Unigram"; unk_id: number; vocab: [string, number][] }, eosToken: string);
    /** Pieces by id. */
    readonly vocab: readonly (string | undefined)[];
    /** Scores by id. */
    readonly scores: number[];
    readonly tokens_to_ids: ReadonlyMap<string, number>;
    /** Returns the pieces of a word, each unknown character on its own. */
    tokenize(word: string): string[];
  }

  /** Byte-pair encoding: merges neighbours in the order of a list. */
  export class BPE {
    constructor(config: {
      type: "BPE";
      vocab: Readonly<Record<string, number>>;
      merges: readonly (readonly [string, string])[];
      byte_fallback?: boolean;
      unk_token?: string;
      end_of_word_suffix?: string;
    });
    /** Tokens by id. */
    readonly vocab: readonly (string | undefined)[];
    readonly tokens_to_ids: ReadonlyMap<string, number>;
    /** Returns the tokens of words; with byte_fallback, bytes stand for a token that the vocabulary lacks. */
    encode(words: readonly string[]): string[];
    /** Returns the tokens of a word, whether the vocabulary has them or not; not to be changed, as they are kept. */
    bpe(word: string): readonly string[];
  }
}
