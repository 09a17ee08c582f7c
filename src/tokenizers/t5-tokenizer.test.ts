import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { memoryFolder } from "../checkpoint/memory-source.ts";
import { loadTokenizer } from "./registry.ts";
import { type T5Definition, T5Tokenizer } from "./t5-tokenizer.ts";
import { testTokenizer } from "./tokenizer.contract.ts";

const ROOT = new URL("../../", import.meta.url);
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const FOLDERS = {
  demo: "models/demo/tokenizer",
  multilingual: "test/fixtures/tokenizers/multilingual",
  stress: "test/fixtures/tokenizers/stress",
};

for (const [name, path] of Object.entries(FOLDERS)) {
  for (const file of ["spiece.model", "tokenizer.json"]) {
    const folder = memoryFolder(name, { [file]: readFileSync(new URL(`${path}/${file}`, ROOT)) });
    testTokenizer(`T5Tokenizer of ${name} from ${file}`, () => loadTokenizer(folder, "", "T5Tokenizer"), LETTERS);
  }
}

const plain = { singleWord: false, lstrip: false, rstrip: false, normalized: false, special: true };
const definition: T5Definition = {
  pieces: [
    ["<pad>", 0],
    ["</s>", 0],
    ["<unk>", 0],
    ["▁", -2],
    ["a", -3],
    ["b", -3],
    ["ab", -4],
    ["▁a", -4],
    ["aa", -5],
  ],
  charsmap: undefined,
  addedTokens: ["<pad>", "</s>", "<unk>", "<x>"].map((content) => ({ content, ...plain })),
  eosToken: "</s>",
  padToken: "<pad>",
  modelMaxLength: 8,
  splitSpecialTokens: false,
  cleansUpSpaces: false,
};
const tiny = new T5Tokenizer(definition);

test.each([
  ["the highest sum of scores: ▁ ab (-6) before ▁a b (-7)", "ab", [3, 6]],
  ["the first of equal sums: ▁a aa and ▁ aa a both are -9 and -10", "aaa", [7, 8]],
  ["unknown characters in a row as one", "a☃☄b☃", [7, 2, 5, 2]],
  ["unknown characters of two words as two", "☃ ☄", [3, 2, 3, 2]],
  ["a mark in the text as the beginning of a word", "a▁a▁▁b", [7, 7, 3, 3, 5]],
  ["U+0085 as white space, U+FEFF as a character", "a\u0085a\ufeffa", [7, 7, 2, 4]],
  ["added tokens where they stand", "a<x>b</s>", [7, 9, 3, 5, 1]],
  ["nothing", "", []],
  ["only spaces", " \t\n ", []],
])("takes %s", (_, text, want) => {
  expect(tiny.encode(text)).toEqual([...want, 1]);
});

test("decodes marks as spaces, but for those of the first token", () => {
  expect(tiny.decode([3, 6, 7, 3, 9, 1, 2])).toBe("ab a <x></s><unk>");
  expect(tiny.decode([1, 9, 7, 5, 2], { skipSpecialTokens: true })).toBe("ab");
});

test('the piece "<unk>" keeps its own score: 0, above that of "<" and "unk>", -9', () => {
  const pieces = [...definition.pieces, ["<", -4], ["unk>", -5]] satisfies T5Definition["pieces"];
  expect(new T5Tokenizer({ ...definition, pieces, splitSpecialTokens: true }).encode("a<unk>")).toEqual([7, 2, 1]);
});
