/**
 * What a tokenizer is to the rest of halftone: text to ids and back. Every class passes tokenizer.contract.ts.
 *
 * Ids are those of transformers' class of the same name. Fitting ids to a model's length is not a tokenizer's business but padTokens', since
 * a pipeline shows what did not fit.
 */

/** Text to ids and back, for one vocabulary. */
export interface Tokenizer {
  /** The class in transformers that it agrees with. */
  readonly className: string;
  /** How many ids there are, added tokens included. */
  readonly size: number;
  readonly padTokenId: number;
  /** The id that ends every sequence, or undefined if the class adds none. */
  readonly eosTokenId: number | undefined;
  /** Where padding goes; on the right, if it is not said. */
  readonly paddingSide?: "left" | "right";
  /** The longest sequence that the model was made for; Infinity when its config does not say. */
  readonly modelMaxLength: number;
  /**
   * Returns the ids of a text, of any length, with the special tokens that the class adds. A lone surrogate is read as U+FFFD. Never throws.
   */
  encode(text: string): number[];
  /** Returns the text of ids; ids that the vocabulary lacks stand for nothing. */
  decode(ids: readonly number[], options?: DecodeOptions): string;
}

/** How ids become text. */
export interface DecodeOptions {
  /** Leaves out tokens such as "</s>"; default false. */
  readonly skipSpecialTokens?: boolean;
}
