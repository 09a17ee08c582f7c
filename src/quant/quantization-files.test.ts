import { describe, expect, test } from "vitest";
import { memoryFolder } from "../checkpoint/memory-source.ts";
import { findQType } from "./qtype.ts";
import { diffusersQuantization, quantoMapText, readQuantization } from "./quantization-files.ts";

const INT8 = ["a.weight._data", "a.weight._scale", "a.bias", "a.input_scale", "a.output_scale"];
const INT4 = ["b.weight._data._data", "b.weight._scale", "b.weight._shift"];
const entry = (weights: string, activations = "none") => ({ weights, activations });

function read(files: { map?: unknown; config?: Record<string, unknown> }, names: readonly string[]) {
  const folder = memoryFolder("model", files.map === undefined ? {} : { "quanto_qmap.json": JSON.stringify(files.map) });
  return readQuantization(folder, files.config ?? {}, names);
}

describe("readQuantization", () => {
  test("reads Quanto's map", async () => {
    const map = { a: entry("qint8"), b: entry("qint4"), norm: entry("none") };
    const found = await read({ map }, [...INT8, ...INT4, "norm.weight"]);
    expect(found).toEqual({
      layout: "quanto",
      qtypes: new Map([
        ["a", "qint8"],
        ["b", "qint4"],
      ]),
    });
  });

  test("reads diffusers' config", async () => {
    const config = { quantization_config: { quant_method: "quanto", weights_dtype: "float8", modules_to_not_convert: null } };
    expect(await read({ config }, INT8)).toEqual({ layout: "diffusers", qtypes: new Map([["a", "qfloat8_e4m3fn"]]) });
  });

  test("a float model is not quantized", async () => {
    expect(await read({ config: { quantization_config: null } }, ["a.weight", "a.bias"])).toBeUndefined();
  });

  test.each<[name: string, files: Parameters<typeof read>[0], names: readonly string[], message: string]>([
    ["a list", { map: [] }, INT8, "quanto_qmap.json is a list, expected an object"],
    ["a word", { map: { a: "qint8" } }, INT8, 'quanto_qmap.json has a = "qint8" (string), expected an object'],
    ["no activations", { map: { a: { weights: "qint8" } } }, INT8, "quanto_qmap.json has no a.activations, expected a string"],
    [
      "an unknown qtype",
      { map: { a: entry("qint3") } },
      INT8,
      'module "a" has weights of "qint3", expected one of qint8, qint4, qint2, qfloat8_e4m3fn, qfloat8_e4m3fnuz, qfloat8_e5m2',
    ],
    ["activations", { map: { a: entry("qint8", "qint8") } }, INT8, 'module "a" has activations of "qint8", which halftone does not run'],
    [
      "a module without tensors",
      { map: { a: entry("qint8"), c: entry("qint8") } },
      INT8,
      'module "c" is qint8 by the map, but tensor "c.weight._data" is missing',
    ],
    [
      "another qtype's tensors",
      { map: { a: entry("qint4") } },
      INT8,
      'module "a" is qint4 by the map, but tensor "a.weight._data._data" is missing',
    ],
    ["a missing shift", { map: { b: entry("qint4") } }, INT4.slice(0, 2), 'tensor "b.weight._shift" is missing'],
    [
      "a model that was not frozen",
      { map: { a: entry("qint8") } },
      ["a.weight"],
      'module "a" is qint8 by the map, but its weight is stored unquantized',
    ],
    [
      "tensors without a map entry",
      { map: { a: entry("qint8") } },
      [...INT8, ...INT4],
      'tensor "b.weight._data._data" belongs to no module that the map quantizes',
    ],
    ["tensors without a map", {}, INT8, 'module "a" is quantized, but the folder does not say how'],
    [
      "another library",
      { config: { quantization_config: { quant_method: "bitsandbytes", load_in_8bit: true } } },
      INT8,
      'the weights are quantized by "bitsandbytes", which halftone does not read',
    ],
    [
      "an unknown word",
      { config: { quantization_config: { quant_method: "quanto", weights_dtype: "int3" } } },
      INT8,
      'quantization_config has weights_dtype = "int3", expected one of int8, int4, int2, float8',
    ],
    [
      "a word that the tensors contradict",
      { config: { quantization_config: { quant_method: "quanto", weights_dtype: "int4" } } },
      INT8,
      'module "a" is qint4 by the map, but tensor "a.weight._data._data" is missing',
    ],
  ])("refuses %s", async (_, files, names, message) => {
    await expect(read(files, names)).rejects.toThrow(message);
  });
});

test("quantoMapText writes what Python's json.dump(indent=4) does", () => {
  const map = new Map([
    ["2.b", "qint8"],
    ["10", "qint4"],
  ] as const);
  expect(quantoMapText(map)).toBe(
    '{\n    "2.b": {\n        "weights": "qint8",\n        "activations": "none"\n    },\n    "10": {\n        "weights": "qint4",\n        "activations": "none"\n    }\n}',
  );
  expect(quantoMapText(new Map())).toBe("{}");
});

describe("diffusersQuantization", () => {
  const layers = [
    { name: "pos_embed.proj", kind: "conv2d" },
    { name: "blocks.0.to_q", kind: "linear" },
    { name: "blocks.1.to_q", kind: "linear" },
    { name: "proj_out", kind: "linear" },
  ] as const;
  const quantized = (names: Record<string, string>) => new Map(Object.entries(names).map(([name, qtype]) => [name, findQType(qtype)]));

  test("names layers that are left out by their last name", () => {
    expect(diffusersQuantization(layers, quantized({ "blocks.0.to_q": "qfloat8", "blocks.1.to_q": "qfloat8" }))).toEqual({
      modules_to_not_convert: ["proj_out"],
      quant_method: "quanto",
      weights_dtype: "float8",
    });
    const all = quantized({ "blocks.0.to_q": "qint4", "blocks.1.to_q": "qint4", proj_out: "qint4" });
    expect(diffusersQuantization(layers, all).modules_to_not_convert).toBeNull();
  });

  test.each<[string, Record<string, string>, string]>([
    ["several qtypes", { "blocks.0.to_q": "qint8", proj_out: "qint4" }, "has one qtype for a whole part, got qint8 and qint4"],
    [
      "a qtype of Quanto's alone",
      { proj_out: "qfloat8_e5m2" },
      "has no word for qfloat8_e5m2, expected one of qint8, qint4, qint2, qfloat8_e4m3fn",
    ],
    ["a convolution", { "pos_embed.proj": "qint8", proj_out: "qint8" }, 'leaves convolutions in float, got "pos_embed.proj" quantized'],
    [
      "a layer of two that share their last name",
      { "blocks.0.to_q": "qint8", proj_out: "qint8" },
      'but "to_q" is both: "blocks.1.to_q" is left out, "blocks.0.to_q" is quantized',
    ],
    ["nothing", {}, "needs a quantized layer, got none"],
  ])("cannot say %s", (_, names, message) => {
    expect(() => diffusersQuantization(layers, quantized(names))).toThrow(message);
  });
});
