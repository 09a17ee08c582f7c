import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { CheckpointError } from "../errors.ts";
import { Charsmap } from "./charsmap.ts";
import { readSentencePiece } from "./sentence-piece.ts";

const file = new URL("../../models/demo/tokenizer/spiece.model", import.meta.url);
const bytes = readSentencePiece(readFileSync(file), "spiece.model").charsmap as Uint8Array;
const charsmap = new Charsmap(bytes);

test.each([
  ["full-width forms", "ＡＢ１！", "AB1!"],
  ["ligatures", "oﬃce ﬁ", "office fi"],
  ["composition", "e\u0301 한글", "é 한글"],
  ["white space", "a\tb\u00a0c\u3000d\r\ne", "a b c d e"],
  ["control characters", "a\u0001b\u007fc", "abc"],
  ["NUL, which ends every search", "a\0b", "a\0b"],
  ["U+0085, which the map leaves", "a\u0085b", "a\u0085b"],
  ["nothing to do", "a red apple", "a red apple"],
  ["nothing", "", ""],
])("normalizes %s", (_, text, want) => {
  expect(charsmap.normalize(text)).toBe(want);
});

test("replaces a short grapheme by what its shortest known prefix stands for, a long one character by character", () => {
  expect(charsmap.normalize("Ａ\u0308")).toBe("A");
  expect(charsmap.normalize("Ａ\u0308\u0301")).toBe("A\u0308\u0301");
});

test("keeps text as it is where the map knows nothing, and never throws", () => {
  fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => typeof charsmap.normalize(text) === "string"));
  fc.assert(fc.property(fc.stringMatching(/^[ -~]*$/), (text) => charsmap.normalize(text) === text));
});

test.each([
  ["no bytes", new Uint8Array(), "expected a trie that fits in its 0 bytes, got no trie"],
  ["a length beyond the end", Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 0), "expected a trie that fits in its 8 bytes, got a trie of 8 bytes"],
  ["a length of no units", Uint8Array.of(0, 0, 0, 0, 0), "expected a trie that fits in its 5 bytes, got a trie of 0 bytes"],
  ["a cut map", bytes.slice(0, 3000), `expected a trie that fits in its 3000 bytes, got a trie of 179200 bytes`],
  ["replacements that are not text", Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0, 0xff), "expected replacements in UTF-8, got other bytes"],
  [
    "a value beyond the replacements",
    Uint8Array.of(8, 0, 0, 0, 0, 5, 0, 0, 9, 0, 0, 0, 97, 0),
    "expected unit 0 to lead to a replacement, got 9",
  ],
])("refuses %s", (_, damaged, problem) => {
  expect(() => new Charsmap(damaged, "tokenizer/spiece.model")).toThrow(
    new CheckpointError(`the tokenizer's charsmap is damaged: ${problem}`, {
      where: "tokenizer/spiece.model",
      hint: "get the tokenizer's files again",
    }),
  );
});

test("a damaged map is refused or still normalizes any text", () => {
  const change = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 50 });
  fc.assert(
    fc.property(change, fc.string({ unit: "binary" }), (changes, text) => {
      const damaged = bytes.slice();
      for (const [at, value] of changes) damaged[at] = value;
      try {
        expect(typeof new Charsmap(damaged).normalize(text)).toBe("string");
      } catch (error) {
        expect(error).toBeInstanceOf(CheckpointError);
      }
    }),
    { numRuns: 60 },
  );
});
