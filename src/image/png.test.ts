import { readFileSync } from "node:fs";
import { deflateSync } from "node:zlib";
import { decode } from "fast-png";
import { describe, expect, test } from "vitest";
import { RgbImage } from "./image.ts";
import { decodePng, encodePng, readRecipe } from "./png.ts";
import type { Recipe } from "./recipe.ts";

const RECIPE: Recipe = {
  prompt: "a red apple",
  negativePrompt: "",
  seed: "42",
  steps: 20,
  guidanceScale: 4.5,
  height: 2,
  width: 3,
  images: 1,
  imageIndex: 0,
  model: "demo",
  modelHash: "00ff",
  pipeline: "PixArtSigmaPipeline",
  scheduler: "DPMSolverMultistepScheduler",
  dtype: "float32",
  qtypes: {},
  useResolutionBinning: false,
  version: "0.1.0",
};
const PIXELS = { width: 3, height: 2, data: Uint8Array.from({ length: 18 }, (_, i) => i * 14) };

describe("encodePng and decodePng", () => {
  test("keep every pixel", () => {
    expect(decodePng(encodePng(PIXELS))).toEqual(PIXELS);
    expect(decodePng(encodePng(PIXELS, RECIPE))).toEqual(PIXELS);
  });

  test("read a file that lies inside a larger buffer", () => {
    const png = encodePng(PIXELS, RECIPE);
    const buffer = new Uint8Array(png.length + 11);
    buffer.set(png, 5);
    const inside = buffer.subarray(5, 5 + png.length);
    expect(decodePng(inside)).toEqual(PIXELS);
    expect(readRecipe(inside)).toEqual(RECIPE);
  });

  test("a picture that is not 8-bit RGB is refused", () => {
    const rgba = readFileSync(new URL("../../test/fixtures/pictures/rgba.png", import.meta.url));
    expect(() => decodePng(rgba)).toThrow("the picture has 4 channels of 8 bits, expected 8-bit RGB");
  });

  test("a changed byte among the pixels is noticed", () => {
    const png = encodePng(PIXELS);
    const at = Buffer.from(png).indexOf("IDAT") + 8;
    png[at] = (png[at] as number) ^ 0xff;
    expect(() => decodePng(png)).toThrow("the PNG file is damaged: its pixels cannot be read");
  });

  test("pixels that do not fill the picture are refused", () => {
    expect(() => new RgbImage({ width: 3, height: 2, data: new Uint8Array(17) }, RECIPE)).toThrow(
      "a picture of 3 x 2 RGB pixels was given 17 bytes, expected 18",
    );
  });
});

describe("recipes", () => {
  const PROMPTS = [
    "",
    "苹果 🍎",
    "ünï\u00a0code",
    "\ud800 alone",
    'quotes " and \\ and \n lines',
    "\0\u0001\u007f\u2028",
    "x".repeat(50_000),
  ];
  test.each(PROMPTS)("a prompt survives: %j", (prompt) => {
    const recipe = { ...RECIPE, prompt, revision: "abc", qtypes: { transformer: "qint8" } };
    expect(readRecipe(encodePng(PIXELS, recipe))).toEqual(recipe);
  });

  test("other programs see the prompt and the program, in plain text chunks", () => {
    const { text } = decode(encodePng(PIXELS, RECIPE));
    expect(text).toMatchObject({ Description: "a red apple", Software: "halftone 0.1.0" });
    expect(JSON.parse(text.halftone as string)).toEqual(RECIPE);
    expect(decode(encodePng(PIXELS, { ...RECIPE, prompt: "苹果" })).text.Description).toBeUndefined();
  });

  test("can be left out", () => {
    const image = new RgbImage(PIXELS, RECIPE);
    expect(readRecipe(image.toPng())).toEqual(RECIPE);
    expect(readRecipe(image.toPng({ metadata: false }))).toBeUndefined();
    expect(decode(image.toPng({ metadata: false })).text).toEqual({});
  });

  test("are found before the pixels as well", () => {
    const chunks = chunksOf(encodePng(PIXELS, RECIPE));
    const moved = [...chunks.filter(isText).slice(0, 1), ...chunks.filter((chunk) => !isText(chunk))];
    const [text, header, ...rest] = moved as [Buffer, Buffer, ...Buffer[]];
    expect(readRecipe(fileOf([header, text, ...rest]))).toEqual(RECIPE);
  });

  test("the largest that can be asked for is read", () => {
    const recipe = { ...RECIPE, steps: 10_000, height: 65_536, width: 65_536, images: 10_000, imageIndex: 9_999 };
    expect(readRecipe(encodePng(PIXELS, recipe))).toEqual(recipe);
  });

  test("fields of a later version are ignored", () => {
    expect(readRecipe(withText(JSON.stringify({ ...RECIPE, sampler: "new" })))).toEqual(RECIPE);
  });
});

describe("files that are not what they seem", () => {
  const png = encodePng(PIXELS, RECIPE);

  test.each([0, 1, 7])("%i bytes are no PNG", (length) => {
    expect(() => readRecipe(png.subarray(0, length))).toThrow("the file is not a PNG picture");
  });

  test("every cut is noticed", () => {
    for (let length = 8; length < png.length; length++) {
      expect(() => readRecipe(png.subarray(0, length))).toThrow(`the PNG file is cut off after ${length} bytes`);
      expect(() => decodePng(png.subarray(0, length))).toThrow("the PNG file is damaged");
    }
  });

  test("a length beyond the file is noticed", () => {
    const wrong = png.slice();
    wrong.set([0xff, 0xff, 0xff, 0xff], 8);
    expect(() => readRecipe(wrong)).toThrow(`the PNG file is cut off after ${png.length} bytes`);
  });

  test.each([
    ["not JSON", "{", "the recipe in the picture is not valid JSON"],
    ["no object", "7", "the recipe in the picture has a wrong form: expected Object, got 7"],
    ["a field missing", json({ seed: undefined }), 'the recipe in the picture has a wrong "seed": expected "seed", got undefined'],
    ["a wrong type", json({ steps: "20" }), 'the recipe in the picture has a wrong "steps": expected number, got "20"'],
    ["a bad seed", json({ seed: "1e5" }), 'the recipe in the picture has a wrong "seed": expected /^-?\\d{1,20}$/, got "1e5"'],
    ["a bad number", json({ steps: 0 }), 'a wrong "steps": expected a whole number from 1 to 10000, got 0'],
    ["half a step", json({ steps: 2.5 }), 'a wrong "steps": expected a whole number from 1 to 10000, got 2.5'],
    ["too many steps", json({ steps: 10_001 }), 'a wrong "steps": expected a whole number from 1 to 10000, got 10001'],
    ["too many pictures", json({ images: 1e12 }), 'a wrong "images": expected a whole number from 1 to 10000, got 1000000000000'],
    ["a height beyond the flag's", json({ height: 65_537 }), 'a wrong "height": expected a whole number from 1 to 65536, got 65537'],
    ["a width beyond the flag's", json({ width: 1e300 }), 'a wrong "width": expected a whole number from 1 to 65536, got 1e+300'],
    ["a picture before the first", json({ imageIndex: -1 }), 'a wrong "imageIndex": expected a whole number from 0 to 9999, got -1'],
    ["a picture after the last", json({ images: 3, imageIndex: 3 }), 'a wrong "imageIndex": expected a whole number from 0 to 2, got 3'],
    ["a bad dtype", json({ dtype: "int8" }), 'a wrong "dtype": expected ("float32" | "float16" | "bfloat16"), got "int8"'],
  ])("a recipe with %s", (_, text, message) => {
    expect(() => readRecipe(withText(text), "a.png")).toThrow(
      expect.objectContaining({ message: expect.stringContaining(message), where: "a.png" }),
    );
  });

  test("a text that unpacks to more than 4 MiB is refused, however small the file", () => {
    const bomb = deflateSync(Buffer.alloc(64 * 2 ** 20));
    const data = Buffer.concat([Buffer.from("halftone\0\0"), bomb]);
    const before = process.memoryUsage().arrayBuffers;
    expect(() => readRecipe(withChunk("zTXt", data))).toThrow("a text in the PNG file is longer than 4194304 bytes");
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(24 * 2 ** 20);
  });

  test.each([
    ["an unknown packing", Buffer.from("halftone\0\x01abc")],
    ["no packing", Buffer.from("halftone\0")],
    ["rubbish", Buffer.from("halftone\0\0rubbish")],
  ])("a packed text with %s is refused", (_, data) => {
    expect(() => readRecipe(withChunk("zTXt", data))).toThrow("a text in the PNG file is damaged");
  });

  test("an international text without its fields is refused", () => {
    expect(() => readRecipe(withChunk("iTXt", Buffer.from("halftone\0\0\0en")))).toThrow("a text in the PNG file is damaged");
  });
});

function json(change: Record<string, unknown>): string {
  return JSON.stringify({ ...RECIPE, ...change });
}

/** Splits a file into chunks. */
function chunksOf(png: Uint8Array): Buffer[] {
  const file = Buffer.from(png);
  const chunks: Buffer[] = [];
  for (let at = 8; at < file.length; ) {
    const end = at + 12 + file.readUInt32BE(at);
    chunks.push(file.subarray(at, end));
    at = end;
  }
  return chunks;
}

function isText(chunk: Buffer): boolean {
  return chunk.toString("latin1", 4, 8) === "tEXt";
}

function fileOf(chunks: readonly Buffer[]): Uint8Array {
  return new Uint8Array(Buffer.concat([encodePng(PIXELS).subarray(0, 8), ...chunks]));
}

function withText(text: string): Uint8Array {
  return withChunk("tEXt", Buffer.from(`halftone\0${text}`, "latin1"));
}

/** A PNG with a chunk of our own, without a checksum, which readers of texts do not look at. */
function withChunk(type: string, data: Buffer): Uint8Array {
  const chunk = Buffer.alloc(12 + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, "latin1");
  data.copy(chunk, 8);
  const [header, ...rest] = chunksOf(encodePng(PIXELS));
  return fileOf([header as Buffer, chunk, ...rest]);
}
