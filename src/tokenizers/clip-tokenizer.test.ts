import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { memoryFolder } from "../checkpoint/memory-source.ts";
import { CheckpointError, type ErrorDetails, HalftoneError } from "../errors.ts";
import { type ClipDefinition, ClipTokenizer } from "./clip-tokenizer.ts";
import { loadTokenizer } from "./registry.ts";
import { testTokenizer } from "./tokenizer.contract.ts";

const FOLDER = new URL("../../test/fixtures/tokenizers/clip/", import.meta.url);
const fixture = (file: string) => readFileSync(new URL(file, FOLDER));
const DAMAGED = "get the tokenizer's files again";

for (const files of [["vocab.json", "merges.txt"], ["tokenizer.json"]]) {
  const folder = memoryFolder("clip", Object.fromEntries(files.map((file) => [file, fixture(file)])));
  testTokenizer(
    `CLIPTokenizer from ${files.join(" and ")}`,
    () => loadTokenizer(folder, "", "CLIPTokenizer"),
    "abcdefghijklmnopqrstuvwxyz",
  );
}

const plain = { singleWord: false, lstrip: false, rstrip: false, normalized: false, special: true };
const definition: ClipDefinition = {
  model: {
    vocabulary: Object.fromEntries(["a", "b", "a</w>", "b</w>", "aa", "ab</w>", "aab</w>", "<s>", "</s>"].map((token, id) => [token, id])),
    merges: [
      ["a", "b</w>"],
      ["a", "a"],
      ["a", "ab</w>"],
    ],
  },
  addedTokens: ["<s>", "</s>", "<x>"].map((content) => ({ content, ...plain })),
  bosToken: "<s>",
  eosToken: "</s>",
  padToken: "</s>",
  unknownToken: "</s>",
  modelMaxLength: 8,
  splitSpecialTokens: false,
};
const tiny = new ClipTokenizer(definition);

test.each([
  ["merges in the order of the list", "aab", [6]],
  ["the leftmost of equal merges", "aaa", [4, 2]],
  ["words apart", "a b\u0085\u3000ab", [2, 3, 5]],
  ["capitals as small letters", "AAB", [6]],
  ["an unknown character as the unknown token, each for itself", "acd", [0, 8, 8]],
  ["added tokens where they stand", "a<x>b", [2, 9, 3]],
  ["nothing", "", []],
  ["only spaces", " \t\n ", []],
])("takes %s", (_, text, want) => {
  expect(tiny.encode(text)).toEqual([7, ...want, 8]);
});

test("decodes the ends of words as spaces, but for the last", () => {
  expect(tiny.decode([7, 6, 9, 2, 8])).toBe("<s>aab <x>a </s>");
  expect(tiny.decode([7, 6, 9, 2, 8], { skipSpecialTokens: true })).toBe("aab a");
});

test("merges of tokenizer.json may be lines, as older versions wrote them", async () => {
  const json = JSON.parse(fixture("tokenizer.json").toString()) as { model: { merges: [string, string][] } };
  const older = { ...json, model: { ...json.model, merges: json.model.merges.map((pair) => pair.join(" ")) } };
  const [a, b] = await Promise.all(
    [json, older].map((value) => loadTokenizer(memoryFolder("clip", { "tokenizer.json": JSON.stringify(value) }), "", "CLIPTokenizer")),
  );
  const text = "a photo of the cat";
  expect(b?.encode(text)).toEqual(a?.encode(text));
});

test("a line of merges.txt may end as Windows ends it, and tokens may be named as an object's own properties", async () => {
  const vocabulary = '{"a": 0, "b</w>": 1, "ab</w>": 2, "__proto__": 3, "constructor": 4, "<|startoftext|>": 5, "<|endoftext|>": 6}';
  const folder = memoryFolder("clip", { "vocab.json": vocabulary, "merges.txt": "#version: 0.2\r\na b</w>\r\n" });
  const tokenizer = await loadTokenizer(folder, "", "CLIPTokenizer");
  expect(tokenizer.encode("ab")).toEqual([5, 2, 6]);
  expect(tokenizer.size).toBe(7);
});

const VOCABULARY = '{"a": 0, "b</w>": 1, "ab</w>": 2}';
const merges = (text: string) => ({ "vocab.json": VOCABULARY, "merges.txt": text });
const json = (model: object) => ({ "tokenizer.json": JSON.stringify({ model, added_tokens: [] }) });
const failures: [string, Record<string, string | Uint8Array>, string, ErrorDetails][] = [
  [
    "no files",
    {},
    "the tokenizer has neither tokenizer.json nor vocab.json and merges.txt",
    { where: "model", hint: `the download may be incomplete; ${DAMAGED}` },
  ],
  [
    "no merges",
    { "vocab.json": VOCABULARY },
    "the tokenizer has neither tokenizer.json nor merges.txt",
    { where: "model", hint: `the download may be incomplete; ${DAMAGED}` },
  ],
  [
    "a vocabulary that is a list",
    { ...merges(""), "vocab.json": "[]" },
    "the tokenizer's vocabulary must be an object of ids by token, got a list",
    { where: "model/vocab.json", hint: DAMAGED },
  ],
  [
    "an id that is none",
    { ...merges(""), "vocab.json": '{"a": -1}' },
    'the tokenizer\'s vocabulary must give "a" an id, got -1',
    { where: "model/vocab.json", hint: DAMAGED },
  ],
  [
    "a merge of three",
    merges("a b c\n"),
    'merge 1 of the tokenizer must join two tokens of its vocabulary into a third, got "a b c"',
    { where: "model/merges.txt", hint: DAMAGED },
  ],
  [
    "a merge of strangers",
    merges("a b</w>\nb a\n"),
    'merge 2 of the tokenizer must join two tokens of its vocabulary into a third, got "b a"',
    { where: "model/merges.txt", hint: DAMAGED },
  ],
  [
    "a model of another type",
    json({ type: "Unigram", vocab: [] }),
    "tokenizer.json's model must be of type BPE for CLIPTokenizer, got Unigram",
    { where: "model/tokenizer.json", hint: "the file belongs to another class of tokenizer" },
  ],
  [
    "merges of another kind",
    json({ type: "BPE", vocab: {}, merges: [1] }),
    `tokenizer.json's "model.merges.0" must be (string | Array), got 1`,
    { where: "model/tokenizer.json", hint: DAMAGED },
  ],
];

test.each(failures)("refuses %s", async (_, files, message, details) => {
  const error = await loadTokenizer(memoryFolder("model", files), "", "CLIPTokenizer").catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(HalftoneError);
  expect(error).toEqual(new CheckpointError(message, details));
});

test("refuses merges that are not text", async () => {
  const folder = memoryFolder("model", { ...merges(""), "merges.txt": Uint8Array.of(0xff) });
  await expect(loadTokenizer(folder, "", "CLIPTokenizer")).rejects.toMatchObject({
    message: "merges.txt is not text in UTF-8",
    where: "model/merges.txt",
    hint: DAMAGED,
  });
});
