import { describe, expect, test } from "vitest";
import { floatTensor } from "../tensor/tensor.ts";
import { imagesFromTensor } from "./from-tensor.ts";
import { resizeAndCrop } from "./resize.ts";

describe("resizeAndCrop", () => {
  test("returns samples of the right size as they are", () => {
    const samples = floatTensor([1, 3, 4, 6]);
    expect(resizeAndCrop(samples, 4, 6)).toBe(samples);
  });

  test("gives the size asked for where diffusers' rounding loses a row or column", () => {
    // 704 * (480 / 704) is 479.99999999999994 in doubles.
    expect(resizeAndCrop(floatTensor([1, 1, 1408, 704]), 256, 480).shape).toEqual([1, 1, 256, 480]);
  });

  test("crops the middle", () => {
    const samples = floatTensor([1, 1, 1, 8], Float32Array.of(0, 0, 1, 2, 3, 4, 0, 0));
    expect(Array.from(resizeAndCrop(samples, 1, 4).data)).toEqual([1, 2, 3, 4]);
  });
});

describe("imagesFromTensor", () => {
  test("clamps, and takes the planes apart", () => {
    const samples = floatTensor([1, 3, 1, 2], Float32Array.of(-5, 5, -1, 1, 0, 1 / 255));
    expect(imagesFromTensor(samples)).toEqual([{ width: 2, height: 1, data: Uint8Array.of(0, 0, 128, 255, 255, 128) }]);
  });

  test("refuses another shape", () => {
    expect(() => imagesFromTensor(floatTensor([1, 4, 2, 2]))).toThrow("a tensor [images, 3, height, width], got [1, 4, 2, 2]");
  });
});
