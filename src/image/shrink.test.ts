/** Means of squares, reckoned by hand. */
import { expect, test } from "vitest";
import { shrinkBy } from "./shrink.ts";

const picture = (width: number, height: number, value: (x: number, y: number, channel: number) => number) => ({
  width,
  height,
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => value(Math.floor(i / 3) % width, Math.floor(i / (3 * width)), i % 3)),
});

test("each pixel is the mean of a square, what is left over is cut off", () => {
  const small = shrinkBy(
    picture(5, 4, (x, y, channel) => 10 * x + y + 100 * channel),
    2,
  );
  expect(small).toEqual({ width: 2, height: 2, data: Uint8Array.of(6, 106, 206, 26, 126, 226, 8, 108, 208, 28, 128, 228) });
});

test("a factor of 1 changes nothing, and none makes a picture vanish", () => {
  const one = picture(3, 1, (x) => x);
  expect(shrinkBy(one, 1)).toBe(one);
  expect(shrinkBy(one, 9)).toEqual({ width: 1, height: 1, data: Uint8Array.of(1, 1, 1) });
});
