/**
 * Tokens that stand in a text as they are written ("</s>", "<extra_id_0>"): they are found before the text is cut into pieces.
 *
 * Two rounds: tokens that are not `normalized` are searched in the raw text, the others in the normalized text between them. In each round
 * the leftmost match wins, and of several there the longest.
 * Source: tokenizers added_vocabulary.rs@0.23.
 */

import type { DecodeOptions } from "./tokenizer.ts";

/** A token that is not a piece of the model, or a piece that is searched for first. */
export interface AddedToken {
  readonly content: string;
  /** Found only where neither neighbour is a letter or digit. */
  readonly singleWord: boolean;
  /** Swallows the white space before it. */
  readonly lstrip: boolean;
  /** Swallows the white space after it. */
  readonly rstrip: boolean;
  /** Is searched in the normalized text. */
  readonly normalized: boolean;
  /** Left out of decoded text on request. */
  readonly special: boolean;
}

/** A stretch of text, or the id of an added token. */
export type Section = string | number;

const SPACE = /^\p{White_Space}$/u;
const ENDS_WITH_WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const STARTS_WITH_WORD = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

/** The added tokens of a tokenizer, by id. */
export class AddedTokens {
  readonly #byId = new Map<number, AddedToken>();
  readonly #idOf = new Map<string, number>();
  readonly #specials = new Set<string>();
  readonly #pieceIdOf: (content: string) => number | undefined;
  readonly #normalize: (text: string) => string;
  #size: number;

  /** Starts empty, above a vocabulary of pieces whose ids added tokens of the same text take over. */
  constructor(vocabularySize: number, pieceIdOf: (content: string) => number | undefined, normalize: (text: string) => string) {
    this.#size = vocabularySize;
    this.#pieceIdOf = pieceIdOf;
    this.#normalize = normalize;
  }

  /** How many ids there are with the pieces below. */
  get size(): number {
    return this.#size;
  }

  /** Adds a token: under the id of the piece with its text, else under the next free id. */
  add(token: AddedToken): void {
    if (token.content === "") return;
    if (token.special) this.#specials.add(token.content);
    const id = this.#idOf.get(token.content) ?? this.#pieceIdOf(token.content) ?? this.#size;
    this.#size = Math.max(this.#size, id + 1);
    this.#byId.set(id, token);
    this.#idOf.set(token.content, id);
  }

  /** Returns id and token of all, by id. */
  entries(): [number, AddedToken][] {
    return [...this.#byId].sort(([a], [b]) => a - b);
  }

  /** Returns the id of an added token, or undefined. */
  idOf(content: string): number | undefined {
    return this.#idOf.get(content);
  }

  /** Returns the text that an added token is decoded to, which is normalized where the token is, or undefined. */
  contentOf(id: number): string | undefined {
    const token = this.#byId.get(id);
    return token?.normalized ? this.#normalize(token.content) : token?.content;
  }

  /** Returns the texts of ids, of added tokens and of the pieces of a vocabulary; ids that nobody has are passed over. */
  decoded(ids: readonly number[], pieces: readonly (string | undefined)[], { skipSpecialTokens = false }: DecodeOptions = {}): string[] {
    return ids
      .map((id) => this.contentOf(id) ?? pieces[id])
      .filter((token) => token !== undefined)
      .filter((token) => !skipSpecialTokens || !this.isSpecial(token));
  }

  /** Whether a text is a special token. */
  isSpecial(content: string): boolean {
    return this.#specials.has(content);
  }

  /** Makes the function that cuts a text at the tokens; with `splitSpecial`, special tokens are ordinary text. */
  splitter(splitSpecial: boolean): (text: string) => Section[] {
    const normalize = this.#normalize;
    const raw = new Matcher(
      this.#select((token) => !token.normalized),
      splitSpecial,
    );
    const normalized = new Matcher(
      this.#select((token) => token.normalized, normalize),
      splitSpecial,
    );
    return (text) => raw.split(text).flatMap((section) => (typeof section === "string" ? normalized.split(normalize(section)) : [section]));
  }

  #select(choose: (token: AddedToken) => boolean, spell = (text: string) => text): Candidate[] {
    const chosen = [...this.#byId].filter(([, token]) => choose(token));
    return chosen.map(([id, token]) => ({ id, token, text: spell(token.content) })).filter(({ text }) => text !== "");
  }
}

interface Candidate {
  readonly id: number;
  readonly token: AddedToken;
  readonly text: string;
}

class Matcher {
  readonly #candidates: Map<string, Candidate>;
  readonly #pattern: RegExp | undefined;
  readonly #splitSpecial: boolean;

  constructor(candidates: readonly Candidate[], splitSpecial: boolean) {
    this.#candidates = new Map(candidates.toReversed().map((candidate) => [candidate.text, candidate]));
    this.#splitSpecial = splitSpecial;
    const texts = [...this.#candidates.keys()].sort((a, b) => b.length - a.length);
    if (texts.length > 0) this.#pattern = new RegExp(texts.map(escapePattern).join("|"), "g");
  }

  split(text: string): Section[] {
    if (this.#pattern === undefined) return text === "" ? [] : [text];
    const sections: Section[] = [];
    let done = 0;
    for (const match of text.matchAll(this.#pattern)) {
      const { id, token } = this.#candidates.get(match[0]) as Candidate;
      const end = match.index + match[0].length;
      if (this.#splitSpecial && token.special) continue;
      if (token.singleWord && touchesWord(text, match.index, end)) continue;
      const start = token.lstrip ? Math.max(done, spaceStart(text, match.index)) : match.index;
      if (done < start) sections.push(text.slice(done, start));
      sections.push(id);
      done = token.rstrip ? spaceEnd(text, end) : end;
    }
    if (done < text.length) sections.push(text.slice(done));
    return sections;
  }
}

function touchesWord(text: string, start: number, end: number): boolean {
  return ENDS_WITH_WORD.test(text.slice(Math.max(0, start - 2), start)) || STARTS_WITH_WORD.test(text.slice(end, end + 2));
}

function spaceStart(text: string, end: number): number {
  let start = end;
  while (start > 0 && SPACE.test(text[start - 1] as string)) start--;
  return start;
}

function spaceEnd(text: string, start: number): number {
  let end = start;
  while (end < text.length && SPACE.test(text[end] as string)) end++;
  return end;
}

function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
