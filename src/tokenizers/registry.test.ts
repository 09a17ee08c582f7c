import { readFileSync } from "node:fs";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import type { Folder } from "../checkpoint/byte-source.ts";
import { memoryFolder } from "../checkpoint/memory-source.ts";
import { CheckpointError, type ErrorDetails, HalftoneError, UnsupportedError } from "../errors.ts";
import { ModelProtoSchema } from "./proto/sentencepiece_pb.ts";
import { loadTokenizer } from "./registry.ts";
import { LARGEST_FILE_BYTES } from "./tokenizer-files.ts";

const MODEL = readFileSync(new URL("../../models/demo/tokenizer/spiece.model", import.meta.url));
const JSON_TEXT = readFileSync(new URL("../../models/demo/tokenizer/tokenizer.json", import.meta.url), "utf8");
const DAMAGED = "get the tokenizer's files again";
const OTHER_CLASS = "the file belongs to another class of tokenizer";

function folderOf(files: Record<string, string | Uint8Array>): Folder {
  return memoryFolder("model", Object.fromEntries(Object.entries(files).map(([file, content]) => [`tokenizer/${file}`, content])));
}

/** The demo's tokenizer.json with some of its parts replaced. */
function jsonWith(parts: Record<string, unknown>): string {
  return JSON.stringify({ ...JSON.parse(JSON_TEXT), ...parts });
}

async function failureOf(files: Record<string, string | Uint8Array>, className?: string): Promise<HalftoneError> {
  const error = await loadTokenizer(folderOf(files), "tokenizer", className).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(HalftoneError);
  return error as HalftoneError;
}

test("the class is the given one, else that of tokenizer_config.json; tokenizer.json comes before spiece.model", async () => {
  const config = JSON.stringify({ tokenizer_class: "T5TokenizerFast", extra_ids: 7 });
  const pieces = (JSON.parse(JSON_TEXT) as { model: { vocab: unknown[] } }).model.vocab.length;
  const both = folderOf({ "spiece.model": MODEL, "tokenizer.json": JSON_TEXT, "tokenizer_config.json": config });
  expect((await loadTokenizer(both, "tokenizer")).encode("<extra_id_0>")).toEqual([pieces, 1]);
  const model = folderOf({ "spiece.model": MODEL, "tokenizer_config.json": config });
  expect((await loadTokenizer(model, "tokenizer")).encode("<extra_id_0>")).toEqual([pieces + 6, 1]);
  const flat = memoryFolder("model", { "spiece.model": MODEL });
  expect((await loadTokenizer(flat, "", "T5Tokenizer")).size).toBe(pieces + 100);
});

test("every file that was opened is closed again", async () => {
  let open = 0;
  const inner = folderOf({ "spiece.model": MODEL.subarray(0, 5000), "tokenizer_config.json": "{}" });
  const counting: Folder = {
    ...inner,
    async open(path) {
      const source = await inner.open(path);
      if (source === undefined) return undefined;
      open++;
      return {
        ...source,
        close: async () => {
          open--;
        },
      };
    },
  };
  await expect(loadTokenizer(counting, "tokenizer", "T5Tokenizer")).rejects.toThrow(CheckpointError);
  expect(open).toBe(0);
});

const bpe = toBinary(
  ModelProtoSchema,
  create(ModelProtoSchema, { pieces: [{ piece: "a" }], trainerSpec: { modelType: 2 }, normalizerSpec: {} }),
);
const onePiece = toBinary(ModelProtoSchema, create(ModelProtoSchema, { pieces: [{ piece: "a" }], trainerSpec: {}, normalizerSpec: {} }));

const unigram = (vocab: unknown) => jsonWith({ model: { type: "Unigram", vocab } });
const config = (value: unknown) => ({ "spiece.model": MODEL, "tokenizer_config.json": JSON.stringify(value) });
const SPIECE = "model/tokenizer/spiece.model";
const TOKENIZER_JSON = "model/tokenizer/tokenizer.json";
const CONFIG = "model/tokenizer/tokenizer_config.json";

const checkpointFailures: [string, Record<string, string | Uint8Array>, string, ErrorDetails][] = [
  [
    "no files",
    {},
    "the tokenizer has neither tokenizer.json nor spiece.model",
    { where: "model/tokenizer", hint: `the download may be incomplete; ${DAMAGED}` },
  ],
  [
    "a cut spiece.model",
    { "spiece.model": MODEL.subarray(0, 5000) },
    "the sentencepiece model is damaged: expected a protobuf message of 5000 bytes, got one that breaks off or is another format",
    { where: SPIECE, hint: DAMAGED },
  ],
  [
    "an empty spiece.model",
    { "spiece.model": "" },
    "the sentencepiece model is damaged: expected pieces, got none",
    { where: SPIECE, hint: DAMAGED },
  ],
  [
    "a BPE spiece.model",
    { "spiece.model": bpe },
    "the sentencepiece model must be of the unigram algorithm, got BPE",
    { where: SPIECE, hint: OTHER_CLASS },
  ],
  [
    "a spiece.model of one piece",
    { ...config({ extra_ids: 0 }), "spiece.model": onePiece },
    "the tokenizer must have at least 3 pieces, got 1",
    { where: SPIECE, hint: DAMAGED },
  ],
  ["a list for an object", { "tokenizer.json": "[1]" }, 'tokenizer.json lacks "model"', { where: TOKENIZER_JSON, hint: DAMAGED }],
  ["null", { "tokenizer.json": "null" }, "tokenizer.json must be Object, got null", { where: TOKENIZER_JSON, hint: DAMAGED }],
  [
    "no model",
    { "tokenizer.json": jsonWith({ model: undefined }) },
    'tokenizer.json lacks "model"',
    { where: TOKENIZER_JSON, hint: DAMAGED },
  ],
  [
    "a model of another type",
    { "tokenizer.json": jsonWith({ model: { type: "BPE", vocab: {}, merges: [] } }) },
    "tokenizer.json's model must be of type Unigram for T5Tokenizer, got BPE",
    { where: TOKENIZER_JSON, hint: OTHER_CLASS },
  ],
  [
    "a model of no type",
    { "tokenizer.json": jsonWith({ model: { vocab: {} } }) },
    "tokenizer.json's model must be of type Unigram for T5Tokenizer, got none",
    { where: TOKENIZER_JSON, hint: OTHER_CLASS },
  ],
  [
    "a vocabulary of another kind",
    { "tokenizer.json": unigram({ a: 1 }) },
    `tokenizer.json's "model.vocab" must be Array, got Object`,
    { where: TOKENIZER_JSON, hint: DAMAGED },
  ],
  [
    "a piece without score",
    { "tokenizer.json": unigram([["<pad>", 0], ["a"]]) },
    `tokenizer.json lacks "model.vocab.1.1"`,
    { where: TOKENIZER_JSON, hint: DAMAGED },
  ],
  [
    "a piece with a text for its score",
    { "tokenizer.json": unigram([["a", "b"]]) },
    `tokenizer.json's "model.vocab.0.1" must be number, got "b"`,
    { where: TOKENIZER_JSON, hint: DAMAGED },
  ],
  [
    "no vocabulary",
    { "tokenizer.json": unigram([]) },
    "the tokenizer must have at least 3 pieces, got 0",
    { where: TOKENIZER_JSON, hint: DAMAGED },
  ],
  [
    "a charsmap that is not base64",
    { "tokenizer.json": jsonWith({ normalizer: { type: "Precompiled", precompiled_charsmap: "%" } }) },
    "the tokenizer's charsmap is damaged: expected base64, got other characters",
    { where: TOKENIZER_JSON, hint: DAMAGED },
  ],
  [
    "a charsmap that is cut",
    { "tokenizer.json": jsonWith({ normalizer: { type: "Precompiled", precompiled_charsmap: "ALwCAACE" } }) },
    "the tokenizer's charsmap is damaged: expected a trie that fits in its 6 bytes, got a trie of 179200 bytes",
    { where: TOKENIZER_JSON, hint: DAMAGED },
  ],
  [
    "a setting of another kind",
    config({ extra_ids: "100" }),
    `tokenizer_config.json's "extra_ids" must be number, got "100"`,
    { where: CONFIG, hint: DAMAGED },
  ],
  [
    "a setting out of its range",
    config({ extra_ids: -1 }),
    `tokenizer_config.json's "extra_ids" must be >=0, got -1`,
    { where: CONFIG, hint: DAMAGED },
  ],
  [
    "sentinels of another number",
    { "tokenizer.json": JSON_TEXT, "special_tokens_map.json": JSON.stringify({ additional_special_tokens: ["<extra_id_0>"] }) },
    "the tokenizer's extra_ids must be the number of listed <extra_id_N> tokens, 1, got 100",
    { where: CONFIG },
  ],
];

test.each([
  ["JSON that breaks off", "{"],
  ["no JSON", "tokenizer"],
  ["an empty file", ""],
  ["bytes that are not UTF-8", Uint8Array.of(0x22, 0xff, 0x22)],
])("refuses %s", async (_, content) => {
  const error = await failureOf({ "tokenizer.json": content, "spiece.model": MODEL }, "T5Tokenizer");
  expect(error).toBeInstanceOf(CheckpointError);
  expect(error).toMatchObject({ message: expect.stringMatching(/^tokenizer\.json is not JSON: ./), where: TOKENIZER_JSON, hint: DAMAGED });
});

test.each(checkpointFailures)("refuses %s", async (_, files, message, details) => {
  expect(await failureOf(files, "T5Tokenizer")).toEqual(new CheckpointError(message, details));
});

const unsupported: [string, Record<string, string | Uint8Array>, string | undefined, string, ErrorDetails][] = [
  [
    "an unknown class",
    { "spiece.model": MODEL },
    "BertTokenizer",
    'tokenizer class "BertTokenizer" is not supported, only CLIPTokenizer, CLIPTokenizerFast, LlamaTokenizer, LlamaTokenizerFast, T5Tokenizer, T5TokenizerFast',
    { where: "model/tokenizer" },
  ],
  [
    "a class named as an object's own",
    { "spiece.model": MODEL },
    "constructor",
    'tokenizer class "constructor" is not supported, only CLIPTokenizer, CLIPTokenizerFast, LlamaTokenizer, LlamaTokenizerFast, T5Tokenizer, T5TokenizerFast',
    { where: "model/tokenizer" },
  ],
  [
    "an unknown class in the config",
    config({ tokenizer_class: "GemmaTokenizer" }),
    undefined,
    'tokenizer class "GemmaTokenizer" is not supported, only CLIPTokenizer, CLIPTokenizerFast, LlamaTokenizer, LlamaTokenizerFast, T5Tokenizer, T5TokenizerFast',
    { where: "model/tokenizer" },
  ],
  [
    "padding on the left",
    config({ padding_side: "left" }),
    "T5Tokenizer",
    'the tokenizer\'s padding_side "left" is not supported, only "right"',
    { where: CONFIG },
  ],
  [
    "named extra tokens",
    config({ extra_special_tokens: { image_token: "<image>" } }),
    "T5Tokenizer",
    "the tokenizer's extra_special_tokens are named (image_token), which halftone does not read",
    { where: CONFIG },
  ],
];

test.each(unsupported)("does not support %s", async (_, files, className, message, details) => {
  expect(await failureOf(files, className)).toEqual(new UnsupportedError(message, details));
});

test("refuses a folder that names no class", async () => {
  const want = new CheckpointError("the tokenizer's class is not known: tokenizer_config.json is missing or has no tokenizer_class", {
    where: "model/tokenizer",
    hint: DAMAGED,
  });
  expect(await failureOf({ "spiece.model": MODEL })).toEqual(want);
});

test("reads no file that is too large for a tokenizer's", async () => {
  const sizeBytes = LARGEST_FILE_BYTES + 1;
  const read = () => Promise.reject(new Error("read"));
  const source = { name: "spiece.model", sizeBytes, file: undefined, read, close: async () => {} };
  const folder: Folder = {
    name: "model",
    open: async (path) => (path.endsWith("spiece.model") ? source : undefined),
    list: async () => [],
  };
  const want = new CheckpointError(`spiece.model has ${sizeBytes} bytes, expected at most ${LARGEST_FILE_BYTES}`, {
    where: "model/tokenizer/spiece.model",
    hint: `this is not a tokenizer's file; ${DAMAGED}`,
  });
  await expect(loadTokenizer(folder, "tokenizer", "T5Tokenizer")).rejects.toEqual(want);
});
