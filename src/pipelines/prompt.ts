/** From a prompt to token ids of the length that a text encoder takes, as diffusers' PixArt pipelines do it. */
import { padTokens } from "../tokenizers/padding.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";

/** Token ids of one prompt. */
export interface PromptTokens {
  readonly ids: readonly number[];
  /** 1 for text, 0 for padding. */
  readonly mask: readonly number[];
  /** The text that did not fit, or undefined. */
  readonly cutText: string | undefined;
}

/** Tokens of a prompt, padded or cut to `maxLength`. */
export function tokenizePrompt(tokenizer: Tokenizer, prompt: string, maxLength: number): PromptTokens {
  const { eosTokenId, padTokenId, paddingSide } = tokenizer;
  const { inputIds, attentionMask, cut } = padTokens(tokenizer.encode(prompt), { maxLength, padTokenId, eosTokenId, paddingSide });
  return { ids: inputIds, mask: attentionMask, cutText: cut.length === 0 ? undefined : tokenizer.decode(cut) };
}

/** Python's str.strip() takes these off both ends; JavaScript's trim() knows others. */
const PYTHON_SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const OUTER_SPACE = new RegExp(`^${PYTHON_SPACE}+|${PYTHON_SPACE}+$`, "g");

/**
 * Lower-cases and strips a caption.
 *
 * Source: diffusers pipeline_pixart_sigma.py@0.42.1 _text_preprocessing, as it works where bs4 and ftfy are not installed.
 */
export function prepareCaption(prompt: string): string {
  return prompt.toLowerCase().replace(OUTER_SPACE, "");
}
