import { describe, expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import type { ByteSource } from "./byte-source.ts";
import { parseJson, readJson, readJsonIfPresent } from "./json.ts";
import { memoryFolder } from "./memory-source.ts";

const parse = (text: string | Uint8Array) => parseJson(typeof text === "string" ? new TextEncoder().encode(text) : text, "x.json");

describe("parseJson", () => {
  it("reads what Python writes", () => {
    expect(parse('{"lambda_min_clipped": -Infinity, "a": [NaN, Infinity, -1.5e-3], "b": "NaN", "c": null, "d": true}')).toEqual({
      lambda_min_clipped: Number.NEGATIVE_INFINITY,
      a: [Number.NaN, Number.POSITIVE_INFINITY, -0.0015],
      b: "NaN",
      c: null,
      d: true,
    });
    expect(parse("\ufeff[1]")).toEqual([1]);
    expect(parse('  "\\u00e9\\ud83d\\ude00"\n')).toBe("é😀");
    expect(parse('{"a": 1, "a": 2}')).toEqual({ a: 2 });
  });

  it("sets no prototype", () => {
    const value = parse('{"__proto__": {"x": 1}, "n": NaN}') as object;
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.keys(value)).toEqual(["__proto__", "n"]);
  });

  it.each<[string, string]>([
    ["", "line 1, column 1: expected a value, got the end"],
    ['{"a": 1,}', 'line 1, column 9: expected a string, got "}"'],
    ['{\n  "a": 1\n  "b": 2\n}', 'line 3, column 3: expected "," or "}", got "\\""'],
    ["[1, 2", 'line 1, column 6: expected "," or "]", got the end'],
    ['{"a": NaN,\n "b": nan}', 'line 2, column 7: expected a value, got "n"'],
    ["{'a': Infinity}", 'line 1, column 2: expected a string, got "\'"'],
    ["[NaN] // comment", 'line 1, column 7: expected the end, got "/"'],
    ["[01]", 'line 1, column 2: expected a value, got "0"'],
    ["[1.]", 'line 1, column 4: expected a digit, got "]"'],
    ["[1e]", 'line 1, column 4: expected a digit, got "]"'],
    ["[-]", 'line 1, column 2: expected a value, got "-"'],
    ['["a', "line 1, column 2: a string does not end"],
    ['["a\\', "line 1, column 2: a string does not end"],
    ['["a\tb"]', "line 1, column 4: a string holds a control character, which must be escaped"],
    ['["\\x"]', "line 1, column 2: a string holds an escape that means no character"],
    ["[".repeat(1000), "line 1, column 129: values are nested more than 128 deep"],
    ["<html>", 'line 1, column 1: expected a value, got "<"'],
  ])("%j is not JSON", async (text, place) => {
    expect(await caught(() => parse(text))).toEqual({
      kind: "CheckpointError",
      message: `the file is not JSON at ${place}`,
      where: "x.json",
    });
  });

  it("refuses what is not UTF-8", async () => {
    expect((await caught(() => parse(Uint8Array.of(0x22, 0xff, 0x22)))).message).toBe("the file is not UTF-8 text, expected JSON");
  });
});

describe("readJson", () => {
  it("reads a file of a folder and closes it", async () => {
    const folder = memoryFolder("model", { "vae/config.json": '{"a": 1}', "large.json": " ".repeat(2000) });
    let open = 0;
    const watched = {
      ...folder,
      async open(path: string): Promise<ByteSource | undefined> {
        const source = await folder.open(path);
        if (source) open++;
        return source && { ...source, close: async () => void open-- };
      },
    };
    expect(await readJson(watched, "vae/config.json")).toEqual({ a: 1 });
    expect(await readJsonIfPresent(watched, "vae/config.json")).toEqual({ a: 1 });
    expect(await readJsonIfPresent(watched, "unet/config.json")).toBeUndefined();
    expect(await caught(readJson(watched, "unet/config.json"))).toEqual({
      kind: "CheckpointError",
      message: '"unet/config.json" is missing',
      where: "model",
      hint: "a model folder has diffusers' layout, with model_index.json",
    });
    expect(await caught(readJson(watched, "large.json", { maxBytes: 1000 }))).toEqual({
      kind: "CheckpointError",
      message: "the file has 2000 bytes, expected JSON of at most 1000",
      where: "model/large.json",
    });
    expect((await caught(readJson(watched, "large.json", { signal: AbortSignal.abort() }))).kind).toBe("CancelledError");
    expect(open).toBe(0);
  });
});
