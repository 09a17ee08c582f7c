/** Pixels and resizing against diffusers' image processors; recipes against text chunks that Pillow wrote. Fixtures: reference/pictures.py. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { imagesFromTensor } from "../../src/image/from-tensor.ts";
import { decodePng, readRecipe } from "../../src/image/png.ts";
import { resizeAndCrop } from "../../src/image/resize.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { difference } from "../support/compare.ts";
import { type FixtureCase, type FixtureTensor, fixturePath, readFixture } from "../support/fixture.ts";

const cases = readFixture("pictures/pictures");

describe("pixels", () => {
  test.each(cases.filter(isOf("pixels")))("$name are those of VaeImageProcessor, exactly", ({ inputs, outputs }) => {
    const pictures = imagesFromTensor(tensor(inputs.samples));
    const { shape, values } = outputs.pixels as FixtureTensor;
    expect(pictures.map(({ width, height }) => [height, width, 3])).toEqual(Array(shape[0]).fill(shape.slice(1)));
    expect(pictures.flatMap(({ data }) => Array.from(data))).toEqual(Array.from(values));
  });
});

describe("resize and crop", () => {
  // torch's vectorized loops fuse multiplication and addition: the last bit of float32 may differ.
  test.each(cases.filter(isOf("resize")))("$name is torch's bilinear", ({ inputs, outputs, meta }) => {
    const got = resizeAndCrop(tensor(inputs.samples), meta.height as number, meta.width as number);
    const want = outputs.resized as FixtureTensor;
    expect(got.shape).toEqual(want.shape);
    expect(difference(got.data, want.values).maxAbs).toBeLessThanOrEqual(1e-6);
  });
});

describe("recipes that another program wrote", () => {
  const recipe = JSON.parse(readFileSync(fixturePath("pictures/recipe.json"), "utf8")) as { prompt: string };
  test.each(["text", "ztxt", "itxt", "itxt-zip"])("as %s", (kind) => {
    const prompt = kind.startsWith("itxt") ? recipe.prompt.replace("\ud800", "") : recipe.prompt;
    const png = new Uint8Array(readFileSync(fixturePath(`pictures/recipe-${kind}.png`)));
    expect(readRecipe(png)).toEqual({ ...recipe, prompt });
    expect(decodePng(png)).toMatchObject({ width: 3, height: 2, data: Uint8Array.from(Array(6).fill([255, 128, 0]).flat()) });
  });
});

function isOf(kind: string): (found: FixtureCase) => boolean {
  return (found) => found.name.startsWith(kind);
}

function tensor(found: FixtureTensor | undefined) {
  return floatTensor(found?.shape ?? [], found?.values ?? new Float32Array());
}
