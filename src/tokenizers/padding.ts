/**
 * Fits ids to the length that a model takes, as transformers does for `padding="max_length", truncation=True`; texts are cut on the right.
 */
import { UsageError } from "../errors.ts";

/** What padTokens must know of the tokenizer and the model. */
export interface PadOptions {
  readonly maxLength: number;
  readonly padTokenId: number;
  /** The id that a cut sequence still ends with; none by default. */
  readonly eosTokenId?: number | undefined;
  /** Default "right". */
  readonly paddingSide?: "left" | "right" | undefined;
}

/** Ids of exactly the asked length, and what did not fit. */
export interface PaddedTokens {
  readonly inputIds: number[];
  /** 1 for ids of the text, 0 for padding. */
  readonly attentionMask: number[];
  /** The ids that were cut out, without the final eos; empty when all fitted. */
  readonly cut: number[];
}

/**
 * Pads or cuts ids to `maxLength`; a cut sequence keeps its final eos.
 *
 * Errors: UsageError when maxLength is not a whole number of at least 1.
 */
export function padTokens(ids: readonly number[], { maxLength, padTokenId, eosTokenId, paddingSide }: PadOptions): PaddedTokens {
  if (!Number.isSafeInteger(maxLength) || maxLength < 1) {
    throw new UsageError(`the token length must be a whole number of at least 1, got ${maxLength}`);
  }
  const ending = eosTokenId !== undefined && ids.at(-1) === eosTokenId ? [eosTokenId] : [];
  const body = ids.slice(0, ids.length - ending.length);
  const room = maxLength - ending.length;
  const kept = [...body.slice(0, room), ...ending];
  const padding = new Array<number>(maxLength - kept.length).fill(padTokenId);
  const isText = kept.map(() => 1);
  const isPadding = padding.map(() => 0);
  return {
    ...(paddingSide === "left"
      ? { inputIds: [...padding, ...kept], attentionMask: [...isPadding, ...isText] }
      : { inputIds: [...kept, ...padding], attentionMask: [...isText, ...isPadding] }),
    cut: body.slice(room),
  };
}
