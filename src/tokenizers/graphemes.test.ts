import fc from "fast-check";
import { expect, test } from "vitest";
import { graphemesOf } from "./graphemes.ts";

const whole = new Intl.Segmenter("en", { granularity: "grapheme" });

test("cuts as one pass over the whole text does, wherever windows end", () => {
  const unit = fc.constantFrom(
    "a",
    "e\u0301",
    "\u0301",
    "🇩",
    "👩",
    "\u200d",
    "🏽",
    "\r",
    "\n",
    "क",
    "्",
    "\u1100",
    "\u1161",
    "\u0600",
    "中",
  );
  const text = fc.array(unit, { minLength: 200, maxLength: 900 }).map((units) => units.join(""));
  fc.assert(
    fc.property(text, (value) => {
      const want = Array.from(whole.segment(value), ({ segment }) => segment);
      expect([...graphemesOf(value)].join("|")).toBe(want.join("|"));
    }),
    { numRuns: 200 },
  );
});

test("cuts printable ASCII into its letters, as Unicode does", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme-ascii", maxLength: 600 }), (value) => {
      expect([...graphemesOf(value)]).toEqual(Array.from(whole.segment(value), ({ segment }) => segment));
    }),
  );
});

test("keeps a cluster of any length whole", () => {
  const marks = `a${"\u0301".repeat(5000)}`;
  expect([...graphemesOf(`${marks}b`)]).toEqual([marks, "b"]);
  expect([...graphemesOf("")]).toEqual([]);
});
