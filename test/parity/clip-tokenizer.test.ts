/**
 * Token ids against transformers' CLIPTokenizer (reference/clip_tokenizer_ids.py): every string, from tokenizer.json and from vocab.json and
 * merges.txt, what the JSON files beside them change, decoding, and padding.
 */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { memoryFolder } from "../../src/checkpoint/memory-source.ts";
import { tokenizeTexts } from "../../src/pipelines/prompt.ts";
import { padTokens } from "../../src/tokenizers/padding.ts";
import { loadTokenizer } from "../../src/tokenizers/registry.ts";
import type { Tokenizer } from "../../src/tokenizers/tokenizer.ts";
import { readFixtureJson } from "../support/tensor-file.ts";
import { type LongIds, shortened } from "../support/token-ids.ts";

interface Variant {
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
  readonly withoutSpecial: string[];
}
interface Padded {
  readonly name: string;
  readonly text: string;
  readonly length: number;
  readonly inputIds: number[];
  readonly attentionMask: number[];
  readonly cut: number[];
  readonly cutText: string;
}

const FOLDER = "tokenizers/clip";
const SOURCES = { "vocab.json and merges.txt": ["vocab.json", "merges.txt"], "tokenizer.json": ["tokenizer.json"] } as const;
type Source = keyof typeof SOURCES;
const SOURCE_NAMES = Object.keys(SOURCES) as Source[];

const repeated = readFixtureJson<{ strings: [group: string, part: string, times: number][] }>("tokenizers/strings.json");
const { strings: own, ids } = readFixtureJson<{ strings: string[]; ids: (number[] | LongIds)[] }>(`${FOLDER}/ids.json`);
const cases = readFixtureJson<{
  variants: Variant[];
  jsonVariants: Variant[];
  decoded: [ids: number[], text: string, withoutSpecial: string][];
  padding: Padded[];
}>(`${FOLDER}/cases.json`);
const strings = [...repeated.strings.map(([, part, times]) => part.repeat(times)), ...own];

function loadFrom(source: Source, others: Record<string, unknown> = {}, className = "CLIPTokenizer"): Promise<Tokenizer> {
  const model = SOURCES[source].map((file) => [file, readFileSync(new URL(`../fixtures/${FOLDER}/${file}`, import.meta.url))] as const);
  const files = Object.entries(others).map(([file, value]) => [file, JSON.stringify(value)] as const);
  return loadTokenizer(memoryFolder("clip", Object.fromEntries([...model, ...files])), "", className);
}

describe.each(SOURCE_NAMES)("from %s", (source) => {
  test("gives transformers' ids", async () => {
    const tokenizer = await loadFrom(source, {}, "CLIPTokenizerFast");
    expect(strings).toHaveLength(ids.length);
    const rows = strings.map((text, index) => ({ text, got: shortened(tokenizer.encode(text)), want: ids[index] }));
    expect(rows.filter(({ got, want }) => JSON.stringify(got) !== JSON.stringify(want))).toEqual([]);
  });

  test("gives transformers' text for ids", async () => {
    const tokenizer = await loadFrom(source);
    for (const [row, text, withoutSpecial] of cases.decoded) {
      expect(tokenizer.decode(row)).toBe(text);
      expect(tokenizer.decode(row, { skipSpecialTokens: true })).toBe(withoutSpecial);
    }
  });
});

const variants = cases.variants.map((variant) => ({ ...variant, source: "vocab.json and merges.txt" as const }));
const jsonVariants = cases.jsonVariants.map((variant, index) => ({
  ...(variant.same ? (cases.variants[index] as Variant) : variant),
  source: "tokenizer.json" as const,
}));

test.each([...variants, ...jsonVariants])("$source with $name", async ({ source, files, ...want }) => {
  const tokenizer = await loadFrom(source, files);
  expect(tokenizer.size).toBe(want.length);
  expect(tokenizer.padTokenId).toBe(want.pad);
  expect(tokenizer.eosTokenId).toBe(want.eos);
  expect(tokenizer.modelMaxLength).toBe(want.limit ?? Number.POSITIVE_INFINITY);
  const got = want.texts.map((text) => tokenizer.encode(text));
  expect(got).toEqual(want.ids);
  expect(got.map((row) => tokenizer.decode(row))).toEqual(want.decoded);
  expect(got.map((row) => tokenizer.decode(row, { skipSpecialTokens: true }))).toEqual(want.withoutSpecial);
});

test.each(cases.padding)("$name padded or cut to $length: $text", async ({ name, text, length, cutText, ...want }) => {
  const files = cases.variants.find((variant) => variant.name === name)?.files;
  const tokenizer = await loadFrom("tokenizer.json", files);
  expect(padTokens(tokenizer.encode(text), { maxLength: length, ...tokenizer })).toEqual(want);
  expect(cutTextOf(tokenizer, text, length)).toBe(cutText);
});

/** What a pipeline would warn of. */
function cutTextOf(tokenizer: Tokenizer, text: string, length: number): string {
  const tokens = tokenizeTexts(tokenizer, [{ name: "prompt", text }], length);
  let next = tokens.next();
  while (!next.done) next = tokens.next();
  return next.value[0]?.cutText ?? "";
}
