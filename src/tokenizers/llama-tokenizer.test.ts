import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { memoryFolder } from "../checkpoint/memory-source.ts";
import { CheckpointError, type ErrorDetails, UnsupportedError } from "../errors.ts";
import { bpeModelOfPieces } from "./bpe-model.ts";
import { type LlamaDefinition, LlamaTokenizer } from "./llama-tokenizer.ts";
import { loadTokenizer } from "./registry.ts";
import { testTokenizer } from "./tokenizer.contract.ts";

const FIXTURES = new URL("../../test/fixtures/tokenizers/", import.meta.url);
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const CONFIG = JSON.stringify({ pad_token: "<pad>", add_eos_token: true });

function readModelFile(path: string): Uint8Array {
  return readFileSync(new URL(path, FIXTURES));
}

for (const name of ["bytes", "stress"]) {
  for (const file of ["tokenizer.model", "tokenizer.json"]) {
    const folder = memoryFolder(name, { [file]: readModelFile(`llama/${name}/${file}`), "tokenizer_config.json": CONFIG });
    testTokenizer(`LlamaTokenizer of ${name} from ${file}`, () => loadTokenizer(folder, "", "LlamaTokenizer"), LETTERS);
  }
}

const plain = { singleWord: false, lstrip: false, rstrip: false, normalized: false, special: true };
const definition: LlamaDefinition = {
  model: bpeModelOfPieces(["<unk>", "<s>", "</s>", "<0xC3>", "<0xA9>", "▁", "a", "b", "ab", "aa", "▁a"]),
  addedTokens: ["<unk>", "<s>", "</s>", "<x>"].map((content) => ({ content, ...plain })),
  bosToken: undefined,
  eosToken: "</s>",
  padToken: "<unk>",
  paddingSide: "right",
  prefixSpace: "first",
  modelMaxLength: 8,
  splitSpecialTokens: false,
};
const tiny = new LlamaTokenizer(definition);

test.each([
  ["the merge of the lowest id first: ab before ▁a", "ab", [5, 8]],
  ["the leftmost of equal merges", "aaa", [5, 9, 6]],
  ["spaces as marks, of which the first serves as the prefix", " a  b", [10, 5, 5, 7]],
  ["a mark in the text as a space", "▁a", [10]],
  ["a character that the vocabulary lacks as its bytes", "aé", [10, 3, 4]],
  ["a character without bytes as nothing, so that its neighbours merge", "a☃b", [5, 8]],
  ["added tokens where they stand, with no prefix behind them", "a<x>a</s>", [10, 11, 6, 2]],
  ["nothing", "", []],
])("takes %s", (_, text, want) => {
  expect(tiny.encode(text)).toEqual([...want, 2]);
});

test("puts the prefix before every stretch of text, or before none", () => {
  expect(new LlamaTokenizer({ ...definition, prefixSpace: "always", bosToken: "<s>" }).encode("<x>a")).toEqual([1, 11, 10, 2]);
  const never = new LlamaTokenizer({ ...definition, prefixSpace: "never", eosToken: undefined });
  expect(never.encode("a a")).toEqual([6, 10]);
  expect(never.decode([10, 6])).toBe(" aa");
  expect(never.eosTokenId).toBeUndefined();
});

test("decodes bytes that make no character as U+FFFD each", () => {
  expect(tiny.decode([10, 3, 4, 5, 3, 2, 4, 4])).toBe("aé \ufffd</s>\ufffd\ufffd");
});

test("makes merges of pieces in the order of what they make, the shortest first half first", () => {
  expect(bpeModelOfPieces(["a", "b", "😀", "bc", "c", "ab", "abc", "a😀"]).merges).toEqual([
    ["b", "c"],
    ["a", "b"],
    ["a", "bc"],
    ["ab", "c"],
    ["a", "😀"],
  ]);
});

describe("a folder that is not followed", () => {
  const JSON_TEXT = new TextDecoder().decode(readModelFile("llama/bytes/tokenizer.json"));
  const json = (parts: object) => ({ "tokenizer.json": JSON.stringify({ ...(JSON.parse(JSON_TEXT) as object), ...parts }) });
  const model = (parts: object) => json({ model: { ...(JSON.parse(JSON_TEXT) as { model: object }).model, ...parts } });
  const where = "model/tokenizer/tokenizer.json";
  const hint = "get the tokenizer's files again";
  const otherClass = "the file belongs to another class of tokenizer";
  const token = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const text = { Sequence: { id: "A", type_id: 0 } };
  const template = (...single: object[]) => json({ post_processor: { type: "TemplateProcessing", single } });

  test.each<[string, Record<string, string | Uint8Array>, string, ErrorDetails]>([
    [
      "without a model",
      {},
      "the tokenizer has neither tokenizer.json nor tokenizer.model",
      { where: "model/tokenizer", hint: `the download may be incomplete; ${hint}` },
    ],
    [
      "with another model in tokenizer.json",
      model({ type: "Unigram" }),
      "tokenizer.json's model must be of type BPE for LlamaTokenizer, got Unigram",
      { where, hint: otherClass },
    ],
    [
      "with another algorithm in tokenizer.model",
      { "tokenizer.model": readModelFile("stress/spiece.model") },
      "the sentencepiece model must be of the BPE algorithm, got unigram",
      { where: "model/tokenizer/tokenizer.model", hint: otherClass },
    ],
    [
      "with a vocabulary that is a list",
      model({ vocab: ["a"] }),
      "the tokenizer's vocabulary must be an object of ids by token, got a list",
      { where, hint },
    ],
    [
      "with a merge of unknown tokens",
      model({ merges: ["a r", "a qqq"] }),
      'merge 2 of the tokenizer must join two tokens of its vocabulary into a third, got "a qqq"',
      { where, hint },
    ],
    [
      "with a merge of three",
      model({ merges: ["a b c"] }),
      'merge 1 of the tokenizer must join two tokens of its vocabulary into a third, got "a b c"',
      { where, hint },
    ],
    [
      "with a token around texts that it does not have",
      template(text, token("<end>")),
      'the tokenizer\'s post_processor must put special tokens around a text, got "<end>"',
      { where, hint },
    ],
  ])("%s is refused", async (_, files, message, details) => {
    await expect(load(files)).rejects.toEqual(new CheckpointError(message, details));
  });

  test.each<[string, Record<string, string>, string, string]>([
    [
      "another post-processor",
      json({ post_processor: { type: "ByteLevel" } }),
      'the tokenizer\'s post_processor "ByteLevel" is not supported, only "TemplateProcessing"',
      where,
    ],
    ...[
      template(token("<s>"), token("<s>"), text),
      template(text, text),
      template(token("<s>")),
      template(text, token("<s>"), token("<s>")),
    ].map((files, index): [string, Record<string, string>, string, string] => [
      `a template of other tokens, ${index + 1}`,
      files,
      "the tokenizer's post_processor must put at most one token before a text and one behind it",
      where,
    ]),
    [
      "cutting on the left",
      { ...json({}), "tokenizer_config.json": JSON.stringify({ truncation_side: "left" }) },
      'the tokenizer\'s truncation_side "left" is not supported, only "right"',
      "model/tokenizer/tokenizer_config.json",
    ],
    [
      "padding at the top",
      { ...json({}), "tokenizer_config.json": JSON.stringify({ padding_side: "top" }) },
      'the tokenizer\'s padding_side "top" is not supported, only "left" or "right"',
      "model/tokenizer/tokenizer_config.json",
    ],
  ])("%s is not supported", async (_, files, message, place) => {
    await expect(load(files)).rejects.toEqual(new UnsupportedError(message, { where: place }));
  });

  function load(files: Record<string, string | Uint8Array>) {
    const all = { "tokenizer_config.json": CONFIG, ...files };
    const folder = memoryFolder("model", Object.fromEntries(Object.entries(all).map(([file, content]) => [`tokenizer/${file}`, content])));
    return loadTokenizer(folder, "tokenizer", "LlamaTokenizerFast");
  }
});
