/**
 * Token ids against transformers' T5Tokenizer (reference/tokenizer_ids.py): every string by every tokenizer, from tokenizer.json and from
 * spiece.model, what the JSON files beside them change, decoding, and padding.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { memoryFolder } from "../../src/checkpoint/memory-source.ts";
import { padTokens } from "../../src/tokenizers/padding.ts";
import { loadTokenizer } from "../../src/tokenizers/registry.ts";
import type { Tokenizer } from "../../src/tokenizers/tokenizer.ts";
import { type ExpectedIds, shortened } from "../support/token-ids.ts";

interface Variant {
  readonly model: string;
  readonly name: string;
  readonly same?: true;
  readonly files: Record<string, unknown>;
  readonly pad: number;
  readonly eos: number;
  readonly limit: number | null;
  readonly length: number;
  readonly texts: string[];
  readonly ids: number[][];
  readonly decoded: string[];
}
interface Cases {
  readonly variants: Variant[];
  readonly jsonVariants: Variant[];
  readonly decoded: Record<string, [ids: number[], text: string, withoutSpecial: string][]>;
  readonly padding: { ids: number[]; length: number; inputIds: number[]; attentionMask: number[]; cut: number[] }[];
}

const ROOT = new URL("../../", import.meta.url);
const FIXTURES = new URL("test/fixtures/tokenizers/", ROOT);
const NAMES = ["demo", "multilingual", "stress"];
const { strings } = readFixture<{ strings: [group: string, part: string, times: number][] }>("strings.json");
const ids = readFixture<Record<string, ExpectedIds>>("ids.json");
const cases = readFixture<Cases>("cases.json");

function readFixture<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, FIXTURES), "utf8")) as T;
}

function readModelFile(model: string, file: string): Uint8Array {
  return readFileSync(model === "demo" ? new URL(`models/demo/tokenizer/${file}`, ROOT) : new URL(`${model}/${file}`, FIXTURES));
}

function loadFrom(model: string, source: "spiece.model" | "tokenizer.json", others: Record<string, unknown>): Promise<Tokenizer> {
  const files = Object.entries(others).map(([file, value]) => [`tokenizer/${file}`, JSON.stringify(value)] as const);
  const folder = memoryFolder(model, { ...Object.fromEntries(files), [`tokenizer/${source}`]: readModelFile(model, source) });
  return loadTokenizer(folder, "tokenizer", "T5Tokenizer");
}

function configOf(model: string): Record<string, unknown> {
  return { "tokenizer_config.json": JSON.parse(new TextDecoder().decode(readModelFile(model, "tokenizer_config.json"))) };
}

test("the fixture holds at least 500 different strings, one of 20,000 characters", () => {
  const texts = strings.map(([, part, times]) => part.repeat(times));
  expect(new Set(texts).size).toBeGreaterThanOrEqual(500);
  expect(Math.max(...texts.map((text) => text.length))).toBeGreaterThanOrEqual(20_000);
});

describe.each(NAMES)("%s", (name) => {
  test.each(["spiece.model", "tokenizer.json"] as const)("gives transformers' ids from %s", async (source) => {
    const tokenizer = await loadFrom(name, source, configOf(name));
    const { fromModel, fromJson } = ids[name] as ExpectedIds;
    const wrong = strings.flatMap(([group, part, times], index) => {
      const want = (source === "tokenizer.json" && fromJson[index]) || fromModel[index];
      const got = shortened(tokenizer.encode(part.repeat(times)));
      return JSON.stringify(got) === JSON.stringify(want) ? [] : [{ group, part, times, got, want }];
    });
    expect(fromModel).toHaveLength(strings.length);
    expect(wrong).toEqual([]);
  });

  test("gives transformers' text for ids", async () => {
    const tokenizer = await loadFrom(name, "spiece.model", configOf(name));
    const rows = cases.decoded[name] as Cases["decoded"][string];
    expect(rows.length).toBeGreaterThan(100);
    for (const [row, text, withoutSpecial] of rows) {
      expect(tokenizer.decode(row)).toBe(text);
      expect(tokenizer.decode(row, { skipSpecialTokens: true })).toBe(withoutSpecial);
    }
  });
});

const variants = cases.variants.map((variant) => ({ source: "spiece.model" as const, ...variant }));
const jsonVariants = cases.jsonVariants.map((variant, index) => ({
  ...(variant.same ? (cases.variants[index] as Variant) : variant),
  source: "tokenizer.json" as const,
}));

test.each([...variants, ...jsonVariants])("$source of $model with $name", async ({ source, model, files, ...want }) => {
  const tokenizer = await loadFrom(model, source, files);
  expect(tokenizer.size).toBe(want.length);
  expect(tokenizer.padTokenId).toBe(want.pad);
  expect(tokenizer.eosTokenId).toBe(want.eos);
  expect(tokenizer.modelMaxLength).toBe(want.limit ?? Number.POSITIVE_INFINITY);
  const got = want.texts.map((text) => tokenizer.encode(text));
  expect(got).toEqual(want.ids);
  expect(got.map((row) => tokenizer.decode(row))).toEqual(want.decoded);
});

test("padTokens pads and cuts as transformers does", () => {
  expect(cases.padding.length).toBeGreaterThan(20);
  for (const { ids: row, length, ...want } of cases.padding) {
    expect(padTokens(row, { maxLength: length, padTokenId: 0, eosTokenId: 1 })).toEqual(want);
  }
});
