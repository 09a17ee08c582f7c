/**
 * Token ids against transformers' LlamaTokenizerFast (reference/llama_tokenizer_ids.py): every string by both models, from tokenizer.json and
 * from tokenizer.model, what the JSON files beside them and keys of tokenizer.json change, decoding, and padding on either side.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { memoryFolder } from "../../src/checkpoint/memory-source.ts";
import { padTokens } from "../../src/tokenizers/padding.ts";
import { loadTokenizer } from "../../src/tokenizers/registry.ts";
import type { Tokenizer } from "../../src/tokenizers/tokenizer.ts";
import { caught } from "../support/caught.ts";
import { type ExpectedIds, shortened } from "../support/token-ids.ts";

type Source = "tokenizer.model" | "tokenizer.json";
interface Variant {
  readonly model: string;
  readonly source: Source;
  readonly name: string;
  readonly files: Readonly<Record<string, unknown>>;
  /** Keys of tokenizer.json that are replaced. */
  readonly patch?: Readonly<Record<string, unknown>>;
  readonly length: number;
  readonly ids: number[][];
  /** null: the tokenizer cannot pad; then the rest is missing. */
  readonly pad: number | null;
  readonly side: "left" | "right";
  readonly limit: number | null;
  readonly decoded: string[];
  readonly withoutSpecial: string[];
  readonly padded: [inputIds: number[], attentionMask: number[]];
}
interface Cases {
  readonly texts: string[];
  readonly variants: Variant[];
  readonly decoded: Record<string, [ids: number[], text: string, withoutSpecial: string][]>;
  readonly padding: {
    ids: number[];
    length: number;
    side: "left" | "right";
    inputIds: number[];
    attentionMask: number[];
    cut: number[];
  }[];
}

const FIXTURES = new URL("../fixtures/tokenizers/", import.meta.url);
const { strings } = readFixture<{ strings: [group: string, part: string, times: number][] }>("strings.json");
const ids = readFixture<Record<string, ExpectedIds>>("llama/ids.json");
const cases = readFixture<Cases>("llama/cases.json");

function readFixture<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, FIXTURES), "utf8")) as T;
}

function load(model: string, source: Source, files: Variant["files"], patch: Variant["patch"] = undefined): Promise<Tokenizer> {
  const bytes = readFileSync(new URL(`llama/${model}/${source}`, FIXTURES));
  const content = patch === undefined ? bytes : JSON.stringify({ ...(JSON.parse(bytes.toString()) as object), ...patch });
  const others = Object.entries(files).map(([file, value]) => [`tokenizer/${file}`, JSON.stringify(value)] as const);
  const folder = memoryFolder(model, { ...Object.fromEntries(others), [`tokenizer/${source}`]: content });
  return loadTokenizer(folder, "tokenizer", "LlamaTokenizerFast");
}

function loadOwn(model: string, source: Source): Promise<Tokenizer> {
  return load(model, source, { "tokenizer_config.json": readFixture(`llama/${model}/tokenizer_config.json`) });
}

describe.each(["bytes", "stress"])("%s", (name) => {
  test.each(["tokenizer.model", "tokenizer.json"] as const)("gives transformers' ids from %s", async (source) => {
    const tokenizer = await loadOwn(name, source);
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
    const tokenizer = await loadOwn(name, "tokenizer.model");
    const found = cases.decoded[name] as Cases["decoded"][string];
    expect(found.length).toBeGreaterThan(100);
    for (const [row, text, withoutSpecial] of found) {
      expect(tokenizer.decode(row)).toBe(text);
      expect(tokenizer.decode(row, { skipSpecialTokens: true })).toBe(withoutSpecial);
    }
  });
});

const padding = cases.variants.filter(({ pad }) => pad !== null);
const notPadding = cases.variants.filter(({ pad }) => pad === null);

test.each(padding)("$source of $model with $name", async ({ model, source, files, patch, ...want }) => {
  const tokenizer = await load(model, source, files, patch);
  expect(tokenizer.size).toBe(want.length);
  expect(tokenizer.padTokenId).toBe(want.pad);
  expect(tokenizer.paddingSide).toBe(want.side);
  expect(tokenizer.modelMaxLength).toBe(want.limit ?? Number.POSITIVE_INFINITY);
  const got = cases.texts.map((text) => tokenizer.encode(text));
  expect(got).toEqual(want.ids);
  expect(got.map((row) => tokenizer.decode(row))).toEqual(want.decoded);
  expect(got.map((row) => tokenizer.decode(row, { skipSpecialTokens: true }))).toEqual(want.withoutSpecial);
  const { eosTokenId, padTokenId, paddingSide } = tokenizer;
  const padded = padTokens(tokenizer.encode("a red apple"), { maxLength: 24, padTokenId, eosTokenId, paddingSide });
  expect([padded.inputIds, padded.attentionMask]).toEqual(want.padded);
});

test.each(notPadding)("$source of $model with $name cannot pad", async ({ model, source, files, patch }) => {
  const found = await caught(load(model, source, files, patch));
  expect(found).toMatchObject({ kind: "CheckpointError", message: "the tokenizer has no pad_token" });
});

test("padTokens pads on either side and cuts as transformers does", () => {
  expect(cases.padding.length).toBeGreaterThan(30);
  for (const { ids: row, length, side, ...want } of cases.padding) {
    expect(padTokens(row, { maxLength: length, padTokenId: 0, eosTokenId: 2, paddingSide: side })).toEqual(want);
  }
});
