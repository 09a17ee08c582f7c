/**
 * The `precompiled_charsmap` of a sentencepiece model: its text normalization (NFKC and more) as data.
 *
 * Bytes: uint32 length of the trie, the trie as uint32 units, then the replacements as UTF-8, each ended by NUL. The trie is a double array
 * (Darts-clone) over UTF-8 bytes: a unit's children stand at `position ^ offset ^ byte`, its value, if it has one, at `position ^ offset`,
 * and the value is where the replacement begins.
 * Source: tokenizers normalizers/precompiled.rs@0.23 and the crate spm_precompiled, quirks included: a grapheme of fewer than 6 bytes is
 * replaced as a whole by what the *shortest* matching prefix stands for (full-width "Ａ" with a diaeresis becomes a bare "A").
 */

import { CheckpointError } from "../errors.ts";
import { graphemesOf } from "./graphemes.ts";

const LONGEST_WHOLE_GRAPHEME_BYTES = 5;
const VALUE_BIT = 0x8000_0000;

/** A parsed charsmap, ready to normalize text. */
export class Charsmap {
  readonly #units: Uint32Array;
  readonly #replacements: Uint8Array;
  readonly #texts = new Map<number, string>();
  readonly #scratch = new Uint8Array(16);
  readonly #encoder = new TextEncoder();
  readonly #decoder = new TextDecoder();

  /**
   * Reads a charsmap and checks it whole, so that no text can make it fail later.
   *
   * Errors: CheckpointError when the trie does not fit in the bytes, or a value points outside the replacements or into a character.
   */
  constructor(bytes: Uint8Array, where?: string) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const trieBytes = bytes.byteLength >= 4 ? view.getUint32(0, true) : 0;
    if (trieBytes < 4 || trieBytes % 4 !== 0 || trieBytes > bytes.byteLength - 4) {
      const got = bytes.byteLength >= 4 ? `a trie of ${trieBytes} bytes` : "no trie";
      throw corrupt(`expected a trie that fits in its ${bytes.byteLength} bytes, got ${got}`, where);
    }
    this.#units = Uint32Array.from({ length: trieBytes / 4 }, (_, index) => view.getUint32(4 + index * 4, true));
    this.#replacements = bytes.slice(4 + trieBytes);
    this.#check(where);
  }

  /** Returns the text with every grapheme or character that the charsmap knows replaced. */
  normalize(text: string): string {
    const isPlain = /^[\0-\x7f]*$/.test(text) && !text.includes("\r\n");
    if (isPlain) return this.#normalizeCharacters(text);
    let result = "";
    for (const grapheme of graphemesOf(text)) result += this.#replacementOf(grapheme) ?? this.#normalizeCharacters(grapheme);
    return result;
  }

  #normalizeCharacters(text: string): string {
    let result = "";
    for (const character of text) result += this.#replacementOf(character) ?? character;
    return result;
  }

  /** The replacement for the shortest prefix of a short grapheme that the trie holds. */
  #replacementOf(grapheme: string): string | undefined {
    if (grapheme.length > LONGEST_WHOLE_GRAPHEME_BYTES) return undefined;
    const { written } = this.#encoder.encodeInto(grapheme, this.#scratch);
    if (written > LONGEST_WHOLE_GRAPHEME_BYTES) return undefined;
    let position = offsetOf(this.#units[0] as number);
    for (let index = 0; index < written; index++) {
      const byte = this.#scratch[index] as number;
      if (byte === 0) return undefined;
      position ^= byte;
      const unit = this.#units[position];
      if (unit === undefined || labelOf(unit) !== byte) return undefined;
      position ^= offsetOf(unit);
      if (hasValue(unit)) return this.#textAt(replacementStart(this.#units[position] as number));
    }
    return undefined;
  }

  #textAt(start: number): string {
    let text = this.#texts.get(start);
    if (text === undefined) {
      const end = this.#replacements.indexOf(0, start);
      text = this.#decoder.decode(this.#replacements.subarray(start, end < 0 ? undefined : end));
      this.#texts.set(start, text);
    }
    return text;
  }

  #check(where: string | undefined): void {
    try {
      new TextDecoder("utf-8", { fatal: true }).decode(this.#replacements);
    } catch (cause) {
      throw corrupt("expected replacements in UTF-8, got other bytes", where, cause);
    }
    for (const [index, unit] of this.#units.entries()) {
      if (unit >= VALUE_BIT || !hasValue(unit)) continue;
      const value = this.#units[index ^ offsetOf(unit)];
      const first = value === undefined ? undefined : this.#replacements[replacementStart(value)];
      if (first === undefined || (first & 0xc0) === 0x80) {
        throw corrupt(
          `expected unit ${index} to lead to a replacement, got ${value === undefined ? "no unit" : replacementStart(value)}`,
          where,
        );
      }
    }
  }
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

function labelOf(unit: number): number {
  return (unit & (VALUE_BIT | 0xff)) >>> 0;
}

function hasValue(unit: number): boolean {
  return (unit & 0x100) !== 0;
}

function replacementStart(unit: number): number {
  return unit & 0x7fff_ffff;
}

function corrupt(problem: string, where: string | undefined, cause?: unknown): CheckpointError {
  return new CheckpointError(`the tokenizer's charsmap is damaged: ${problem}`, {
    where,
    hint: "get the tokenizer's files again",
    cause,
  });
}
