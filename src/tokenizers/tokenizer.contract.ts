/**
 * What every Tokenizer must do, whatever its class.
 */
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { padTokens } from "./padding.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Runs the contract for a tokenizer; `spelled` holds characters that its vocabulary can spell. */
export function testTokenizer(name: string, load: () => Promise<Tokenizer>, spelled: string): void {
  describe(`${name} keeps the contract`, () => {
    let tokenizer: Tokenizer;
    beforeAll(async () => {
      tokenizer = await load();
    });

    test("says what it is", () => {
      expect(tokenizer.className).toMatch(/^\w+Tokenizer$/);
      expect(tokenizer.size).toBeGreaterThan(2);
      expect(tokenizer.modelMaxLength).toBeGreaterThan(0);
      for (const id of [tokenizer.padTokenId, tokenizer.eosTokenId ?? 0]) {
        expect(Number.isInteger(id) && id >= 0 && id < tokenizer.size).toBe(true);
      }
    });

    test("gives ids of its vocabulary for any string, lone surrogates included, and always the same", () => {
      const text = fc.oneof(
        fc.string({ unit: "binary" }),
        fc.array(fc.nat(0xffff)).map((units) => String.fromCharCode(...units)),
      );
      fc.assert(
        fc.property(text, (value) => {
          const ids = tokenizer.encode(value);
          expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < tokenizer.size)).toBe(true);
          expect(tokenizer.encode(value)).toEqual(ids);
          if (tokenizer.eosTokenId !== undefined) expect(ids.at(-1)).toBe(tokenizer.eosTokenId);
          expect(padTokens(ids, { maxLength: 20, ...tokenizer }).inputIds).toHaveLength(20);
        }),
      );
    });

    test("reads a lone surrogate as U+FFFD", () => {
      for (const [text, twin] of [
        ["a\ud800b", "a\ufffdb"],
        ["\udc00", "\ufffd"],
        ["x \ud83d", "x \ufffd"],
        ["\ud83d\ude00\ude00", "\u{1f600}\ufffd"],
      ] as const) {
        expect(tokenizer.encode(text)).toEqual(tokenizer.encode(twin));
      }
    });

    test("gives back the text that it can spell", () => {
      const word = fc.string({ unit: fc.constantFrom(...spelled), minLength: 1, maxLength: 8 });
      fc.assert(
        fc.property(fc.array(word, { minLength: 1, maxLength: 8 }), (words) => {
          const text = words.join(" ");
          expect(tokenizer.decode(tokenizer.encode(text), { skipSpecialTokens: true })).toBe(text);
        }),
      );
    });

    test("reads no text from no ids, nor from ids that it lacks", () => {
      expect(tokenizer.decode([])).toBe("");
      expect(tokenizer.decode([tokenizer.size + 5, -1, 0.5])).toBe("");
    });

    test("takes 20,000 characters in under 5 seconds, known or unknown, with spaces or without", () => {
      for (const part of ["a", "a red apple ", "\u2603", "e\u0301", "\u200d", "</s>", " "]) {
        const started = performance.now();
        tokenizer.encode(part.repeat(Math.ceil(20_000 / part.length)));
        expect(performance.now() - started).toBeLessThan(5000);
      }
    });
  });
}
