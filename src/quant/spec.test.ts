import { describe, expect, test } from "vitest";
import { parseSpec, qtypesByModule, quantizedParts } from "./spec.ts";

const PARTS = [
  { name: "text_encoder" },
  { name: "text_encoder_2" },
  { name: "transformer" },
  { name: "vae", neverQuantized: "a VAE becomes numerically unstable" },
];
const MODULES = ["blocks.0.attn1.to_q", "blocks.0.attn1.to_k", "blocks.0.ff.net", "blocks.1.attn1.to_q", "proj_out"];

function partsOf(spec: string): string[] {
  return quantizedParts(parseSpec(spec), PARTS);
}

function qtypesOf(spec: string, part = "transformer"): Record<string, string> {
  return Object.fromEntries(Array.from(qtypesByModule(parseSpec(spec), part, MODULES), ([name, qtype]) => [name, qtype.name]));
}

describe("parts", () => {
  test.each([
    ["qint8", ["text_encoder", "text_encoder_2", "transformer"]],
    ["transformer=qint8", ["transformer"]],
    [" transformer = qint8 , text_encoder*=qfloat8", ["text_encoder", "text_encoder_2", "transformer"]],
    ["text_encoder_?=qint4", ["text_encoder_2"]],
    ["*=qint2", ["text_encoder", "text_encoder_2", "transformer"]],
    ["transformer:*attn*=qint4", ["transformer"]],
  ])("%s", (spec, expected) => {
    expect(partsOf(spec)).toEqual(expected);
  });

  test.each([
    [
      "transfomer=qint8",
      'the model has no part "transfomer" to quantize, expected one of text_encoder, text_encoder_2, transformer',
      "did you mean transformer?",
    ],
    ["unet=qint8", 'the model has no part "unet" to quantize', undefined],
    ["vae=qint8", "vae cannot be quantized: a VAE becomes numerically unstable", undefined],
    ["v*=qint8", "vae cannot be quantized", undefined],
  ])("%s is refused", (spec, message, hint) => {
    expect(() => partsOf(spec)).toThrow(expect.objectContaining({ message: expect.stringContaining(message), hint }));
  });
});

describe("modules", () => {
  test("the most specific pair wins, wherever it stands", () => {
    const expected = {
      "blocks.0.attn1.to_q": "qint4",
      "blocks.0.attn1.to_k": "qint4",
      "blocks.0.ff.net": "qint8",
      "blocks.1.attn1.to_q": "qint2",
      proj_out: "qint8",
    };
    const pairs = ["qfloat8", "transf*=qint2", "transformer=qint8", "transformer:*attn*=qint4", "transformer:blocks.1.attn1.to_q=qint2"];
    expect(qtypesOf(pairs.join(","))).toEqual(expected);
    expect(qtypesOf(pairs.toReversed().join(","))).toEqual(expected);
  });

  test("of equal pairs the last wins", () => {
    expect(qtypesOf("transformer=qint8,transformer=qint4").proj_out).toBe("qint4");
    expect(qtypesOf("transformer:proj_*=qint8,transformer:*j_out=qint4").proj_out).toBe("qint4");
  });

  test("a pair with a module pattern leaves the other modules alone", () => {
    expect(qtypesOf("transformer:*.to_[qk]=qint4")).toEqual({
      "blocks.0.attn1.to_q": "qint4",
      "blocks.0.attn1.to_k": "qint4",
      "blocks.1.attn1.to_q": "qint4",
    });
    expect(qtypesOf("transformer:*.to_[q,k]=qint4,text_encoder=qint8")).toHaveProperty(["blocks.0.attn1.to_k"], "qint4");
    expect(qtypesOf("transformer:*.to_[!q]=qint4")).toEqual({ "blocks.0.attn1.to_k": "qint4" });
  });

  test("a pattern that matches nothing is refused, with the nearest layer", () => {
    expect(() => qtypesOf("transformer:proj_aut=qint4")).toThrow(
      expect.objectContaining({
        message: 'pattern "proj_aut" matches no layer of transformer that can be quantized',
        hint: 'the nearest layer is "proj_out"',
      }),
    );
    expect(() => qtypesOf("transformer:*.conv*=qint4")).toThrow(
      expect.objectContaining({ hint: 'its layers have names such as "blocks.0.attn1.to_q"' }),
    );
  });
});

describe("parseSpec", () => {
  test.each([
    ["", "qtype must be a qtype or pairs part=qtype, got an empty text"],
    ["qint8,", 'qtype must be a qtype or pairs part=qtype, got "qint8,"'],
    ["=qint8", 'qtype has the pair "=qint8" without a part, expected part=qtype or part:pattern=qtype'],
    ["transformer:=qint8", 'qtype has the pair "transformer:=qint8" without a module pattern, expected part=qtype or part:pattern=qtype'],
    ["int8", 'qtype must be one of qint8, qint4, qint2, qfloat8, qfloat8_e4m3fn, qfloat8_e4m3fnuz, qfloat8_e5m2, got "int8"'],
    ["transformer=qint", 'got "qint"'],
    ["qint8,qint4", 'qtype must have one bare qtype at most, got "qint8,qint4"'],
  ])("%s", (spec, message) => {
    expect(() => parseSpec(spec)).toThrow(message);
  });
});
