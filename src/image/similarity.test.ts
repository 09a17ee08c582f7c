/** Pictures with known distances: scikit-image's (reference/similarity.py), and a few that can be reckoned by hand. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { fixturePath } from "../../test/support/fixture.ts";
import { meanSquaredError, psnrOf, ssim } from "./similarity.ts";

interface Case {
  name: string;
  width: number;
  height: number;
  a: number[];
  b: number[];
  psnr: number | null;
  ssim: number;
}
const { cases } = JSON.parse(readFileSync(fixturePath("similarity.json"), "utf8")) as { cases: Case[] };
const flat = (value: number, width = 12, height = 12) => ({ width, height, data: new Uint8Array(width * height * 3).fill(value) });

describe.each(cases)("$name, as scikit-image measures it", ({ width, height, a, b, ...want }) => {
  const pair = [
    { width, height, data: Uint8Array.from(a) },
    { width, height, data: Uint8Array.from(b) },
  ] as const;

  test("PSNR", () => {
    expect(psnrOf(meanSquaredError(...pair))).toBeCloseTo(want.psnr ?? Number.POSITIVE_INFINITY, 10);
  });

  test("SSIM", () => {
    expect(ssim(...pair)).toBeCloseTo(want.ssim, 10);
  });
});

test("PSNR of a difference of 1 everywhere is 20 log10 255", () => {
  expect(psnrOf(meanSquaredError(flat(7), flat(8)))).toBeCloseTo(48.1308, 4);
});

test("SSIM of two flat pictures is the luminance term alone", () => {
  const c1 = 2.55 ** 2;
  expect(ssim(flat(100), flat(50))).toBeCloseTo((2 * 100 * 50 + c1) / (100 ** 2 + 50 ** 2 + c1), 12);
});

test("pictures that cannot be compared are refused", () => {
  expect(() => meanSquaredError(flat(1), flat(1, 12, 13))).toThrow("pictures of 12 x 12 and 12 x 13 pixels cannot be compared");
  expect(() => ssim(flat(1, 10, 40), flat(1, 10, 40))).toThrow("SSIM needs pictures of 11 x 11 pixels or more, got 10 x 40");
});
