/** The fast roundings against the tensor room's, which are proven against torch for every code, tie and neighbour. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { roundToDType } from "../tensor/convert.ts";
import { roundTo, roundValues } from "./rounding.ts";

const DTYPES = ["float32", "float16", "bfloat16"] as const;

/** Any float32 but NaN: special values, and patterns that lie around the edges of the halves. */
const numbers = fc.oneof(
  fc.float({ noNaN: true }),
  fc.integer({ min: -2048, max: 2048 }).map((steps) => steps * 2 ** -25),
  fc.integer({ min: 65480 * 4, max: 65540 * 4 }).map((quarters) => quarters / 4),
  fc.constantFrom(0, -0, Infinity, -Infinity, 65519.99609375, 65520, 2 ** -14, 2 ** -25, -(2 ** -26), 3e38, -1e-45),
);

test.each(DTYPES)("%s", (dtype) => {
  fc.assert(
    fc.property(fc.array(numbers, { minLength: 1, maxLength: 50 }), (list) => {
      const want = roundToDType(Float32Array.from(list), dtype);
      const got = Float32Array.from([...list, 1.234567]);
      roundValues(got, list.length, dtype);
      expect(Array.from(got)).toEqual([...want, Math.fround(1.234567)]);
      expect(list.map((value) => roundTo(value, dtype))).toEqual(Array.from(want));
    }),
    { numRuns: 2000, seed: 1 },
  );
});

test.each(DTYPES)("NaN stays NaN in %s", (dtype) => {
  expect([roundTo(Number.NaN, dtype), roundTo(0 / 0, dtype)]).toEqual([Number.NaN, Number.NaN]);
});
