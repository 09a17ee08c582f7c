/** From prompts to token ids of the length that a text encoder takes, as diffusers' pipelines do it. */
import { padTokens } from "../tokenizers/padding.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import type { WarningEvent } from "./events.ts";

/** Token ids of one prompt. */
export interface PromptTokens {
  readonly ids: readonly number[];
  /** 1 for text, 0 for padding. */
  readonly mask: readonly number[];
  /** The text that did not fit, or undefined. */
  readonly cutText: string | undefined;
}

/** A text to encode, and what to call it in a warning: "negative prompt". */
export interface NamedText {
  readonly name: string;
  readonly text: string;
}

/** The texts that a text encoder reads: the negative one first when guided. */
export function guidedTexts(guided: boolean, negative: NamedText, positive: NamedText): readonly NamedText[] {
  return guided ? [negative, positive] : [positive];
}

/** Tokens of texts, padded or cut to `maxLength`; warns of those that are cut. */
export function* tokenizeTexts(
  tokenizer: Tokenizer,
  texts: readonly NamedText[],
  maxLength: number,
): Generator<WarningEvent, PromptTokens[]> {
  const tokens: PromptTokens[] = [];
  for (const { name, text } of texts) {
    const found = tokenizePrompt(tokenizer, text, maxLength);
    if (found.cutText !== undefined) {
      const message = `the ${name} is longer than the ${maxLength} tokens that the model sees; cut off: "${found.cutText}"`;
      yield { type: "warning", message };
    }
    tokens.push(found);
  }
  return tokens;
}

/** Tokens that each of the texts fills, at least 1 and `maxLength` at most. */
export function textLengths(tokenizer: Tokenizer, texts: readonly NamedText[], maxLength: number): number[] {
  return texts.map(({ text }) => Math.max(1, Math.min(maxLength, tokenizer.encode(text).length)));
}

function tokenizePrompt(tokenizer: Tokenizer, prompt: string, maxLength: number): PromptTokens {
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
