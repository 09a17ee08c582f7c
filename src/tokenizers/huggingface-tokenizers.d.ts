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
}
