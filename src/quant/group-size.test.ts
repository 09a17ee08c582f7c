/** Group sizes against Quanto's own modules (reference/quant.py). */
import { expect, test } from "vitest";
import { readFixtureJson } from "../../test/support/tensor-file.ts";
import { groupSizeOf } from "./group-size.ts";
import { qfloat8, qint2, qint4, qint8 } from "./qtype.ts";

interface Sizes {
  lengths: number[];
  sizes: number[];
  convs: number[][];
  convSizes: number[];
}

const { lengths, sizes, convs, convSizes } = readFixtureJson<Sizes>("quant/group-sizes.json");

test("rows of every length up to 419, and of real models", () => {
  expect(lengths.length).toBeGreaterThan(400);
  expect(lengths.map((length) => groupSizeOf([2, length], qint4) ?? 0)).toEqual(sizes);
});

test("convolutions: a row is all input channels and the whole kernel", () => {
  expect(convs.map((shape) => groupSizeOf(shape, qint2) ?? 0)).toEqual(convSizes);
});

test("8 bits have no groups", () => {
  expect([qint8, qfloat8].map((qtype) => groupSizeOf([2, 4096], qtype))).toEqual([undefined, undefined]);
});
