/** Selections against what Quanto's quantize() and diffusers' quantizer replace in real models (reference/quant.py); errors. */
import { describe, expect, test } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { readFixtureJson } from "../../test/support/tensor-file.ts";
import { checkPatterns, type ModulePatterns, selectModules } from "./module-patterns.ts";
import { qint8 } from "./qtype.ts";
import { diffusersQuantization, type QuantizableLayer } from "./quantization-files.ts";

interface Model {
  modules: QuantizableLayer[];
  quanto: (ModulePatterns & { quantized: string[] })[];
  diffusers: { notConverted: string[]; quantized: string[] }[];
}

const { models } = readFixtureJson<{ models: Record<string, Model> }>("quant/modules.json");
const namesOf = ({ modules }: Model) => modules.map(({ name }) => name);
const pixart = namesOf(models.pixart as Model);

describe.each(Object.entries(models))("%s", (_, model) => {
  test.each(model.quanto)("include $include, exclude $exclude", ({ quantized, ...patterns }) => {
    expect(selectModules(namesOf(model), patterns)).toEqual(quantized);
  });

  test.each(model.diffusers.filter(({ quantized }) => quantized.length > 0))("diffusers without $notConverted", ({ quantized }) => {
    // What our config would leave out, read as diffusers reads it, quantizes the same layers.
    const { modules_to_not_convert: left } = diffusersQuantization(model.modules, new Map(quantized.map((name) => [name, qint8])));
    const linears = model.modules.filter(({ kind }) => kind === "linear").map(({ name }) => name);
    expect(linears.filter((name) => !left?.includes(name.split(".").at(-1) as string))).toEqual(quantized);
  });
});

describe("a pattern that matches nothing", () => {
  const refuse = (patterns: ModulePatterns, names = pixart) => caught(() => checkPatterns(patterns, names, "transformer"));

  test("names a module that is spelt nearly so", async () => {
    expect(await refuse({ exclude: ["*attn*", "proj_ot"] })).toEqual({
      kind: "UsageError",
      message: 'exclude pattern "proj_ot" matches no linear layer or convolution of transformer',
      hint: 'near matches: "proj_out"',
    });
  });

  test("is a leaf name, part of a name, or a module that holds others", async () => {
    expect((await refuse({ include: "to_q" })).hint).toBe('a pattern must match the whole name: "*.to_q" matches 4 modules');
    expect((await refuse({ include: "attn" })).hint).toBe('a pattern must match the whole name: "*attn*" matches 16 modules');
    expect((await refuse({ include: "transformer_blocks.0" })).hint).toBe(
      'a pattern must match the whole name: "transformer_blocks.0.*" matches 10 modules',
    );
  });

  test("is a misspelt leaf name, or nothing known", async () => {
    expect((await refuse({ include: "*atn1*" })).hint).toBe('near matches: "*attn1*"');
    expect((await refuse({ include: "zzzzzzzz" })).hint).toBe('names look like "pos_embed.proj"');
  });

  test("is fine if it matches in one of several parts", () => {
    const names = Object.values(models).flatMap(namesOf);
    expect(() => checkPatterns({ exclude: ["proj_out", "*SelfAttention*"], include: "*" }, names, "any part")).not.toThrow();
  });
});
