import fc from "fast-check";
import { expect, test } from "vitest";
import { UsageError } from "../errors.ts";
import { padTokens } from "./padding.ts";

const EOS = 1;

test("pads on the right", () => {
  const padded = padTokens([5, 6, EOS], { maxLength: 5, padTokenId: 0, eosTokenId: EOS });
  expect(padded).toEqual({ inputIds: [5, 6, EOS, 0, 0], attentionMask: [1, 1, 1, 0, 0], cut: [] });
});

test("cuts before the final eos", () => {
  const padded = padTokens([5, 6, 7, 8, EOS], { maxLength: 3, padTokenId: 0, eosTokenId: EOS });
  expect(padded).toEqual({ inputIds: [5, 6, EOS], attentionMask: [1, 1, 1], cut: [7, 8] });
});

test("cuts plainly where the class adds no eos", () => {
  const padded = padTokens([5, 6, 7], { maxLength: 2, padTokenId: 0 });
  expect(padded).toEqual({ inputIds: [5, 6], attentionMask: [1, 1], cut: [7] });
});

test("gives the asked length, loses no id, and keeps eos last", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 9 })), fc.integer({ min: 1, max: 30 }), (body, maxLength) => {
      const { inputIds, attentionMask, cut } = padTokens([...body, EOS], { maxLength, padTokenId: 0, eosTokenId: EOS });
      const kept = attentionMask.reduce((sum, bit) => sum + bit, 0);
      expect(inputIds).toHaveLength(maxLength);
      expect(attentionMask).toHaveLength(maxLength);
      expect(attentionMask.slice(0, kept).every((bit) => bit === 1)).toBe(true);
      expect(inputIds[kept - 1]).toBe(EOS);
      expect(inputIds.slice(kept).every((id) => id === 0)).toBe(true);
      expect([...inputIds.slice(0, kept - 1), ...cut]).toEqual(body);
    }),
  );
});

test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])("refuses a length of %s", (maxLength) => {
  expect(() => padTokens([EOS], { maxLength, padTokenId: 0 })).toThrow(
    new UsageError(`the token length must be a whole number of at least 1, got ${maxLength}`),
  );
});
