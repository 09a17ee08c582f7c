/**
 * Makes a CLIP tokenizer from a folder: from tokenizer.json if there is one, else from vocab.json and merges.txt, with the JSON files beside
 * them.
 *
 * Of tokenizer.json only vocabulary, merges and added tokens count, as in transformers' CLIPTokenizer, which sets the other steps itself.
 * Source: transformers tokenization_utils_tokenizers.py (convert_to_native_format) @5.23.0; tokenizers models/bpe/model.rs@0.23 (read_file).
 */
import * as v from "valibot";
import { CheckpointError } from "../errors.ts";
import { type ClassTokens, mergeAddedTokens } from "./added-token-files.ts";
import { ClipTokenizer } from "./clip-tokenizer.ts";
import { modelMaxLengthOf, readTokenizerJsonFiles, type TokenizerJson, tokenizerConfigSchema } from "./tokenizer-config.ts";
import { checkValue, nameOfFile, readJson, readText, type TokenizerFolder } from "./tokenizer-files.ts";

const HINT = "get the tokenizer's files again";
const END = "<|endoftext|>";

/** Merges of tokenizer.json: pairs or, in older files, lines. */
const mergesSchema = v.array(v.union([v.string(), v.array(v.string())]));

const TOKENS: ClassTokens = {
  named: [
    ["bos_token", "<|startoftext|>"],
    ["eos_token", END],
    ["unk_token", END],
    ["pad_token", END],
  ],
  additional: (listed) => listed,
};

interface Model {
  readonly vocabulary: Readonly<Record<string, number>>;
  readonly merges: readonly (readonly [string, string])[];
}

/**
 * Reads a CLIP tokenizer.
 *
 * Errors: CheckpointError when files are missing or damaged; UnsupportedError for settings that halftone does not follow.
 */
export async function readClipTokenizer(place: TokenizerFolder): Promise<ClipTokenizer> {
  const files = await readTokenizerJsonFiles(place, tokenizerConfigSchema);
  const { config, tokenizerJson } = files;
  const { vocabulary, merges } = tokenizerJson === undefined ? await modelOfText(place) : modelOfJson(tokenizerJson, place);
  const { tokens, textOf } = mergeAddedTokens(files, TOKENS, nameOfFile(place, "tokenizer_config.json"));
  return new ClipTokenizer({
    vocabulary,
    merges,
    addedTokens: tokens,
    bosToken: textOf("bos_token"),
    eosToken: textOf("eos_token"),
    padToken: textOf("pad_token"),
    unknownToken: textOf("unk_token"),
    modelMaxLength: modelMaxLengthOf(config),
    splitSpecialTokens: config.split_special_tokens ?? false,
  });
}

async function modelOfText(place: TokenizerFolder): Promise<Model> {
  const vocabulary = await readJson(place, "vocab.json", v.unknown());
  const text = await readText(place, "merges.txt");
  if (vocabulary === undefined || text === undefined) {
    const lack = vocabulary === undefined ? (text === undefined ? "vocab.json and merges.txt" : "vocab.json") : "merges.txt";
    throw new CheckpointError(`the tokenizer has neither tokenizer.json nor ${lack}`, {
      where: nameOfFile(place, ""),
      hint: `the download may be incomplete; ${HINT}`,
    });
  }
  const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
  if (lines.at(-1) === "") lines.pop();
  const merges = lines.filter((line) => !line.startsWith("#version"));
  return checkedModel(checkedVocabulary(vocabulary, nameOfFile(place, "vocab.json")), merges, nameOfFile(place, "merges.txt"));
}

function modelOfJson({ model }: TokenizerJson, place: TokenizerFolder): Model {
  const where = nameOfFile(place, "tokenizer.json");
  const type = model.type ?? (Array.isArray(model.merges) ? "BPE" : "none");
  if (type !== "BPE") {
    throw new CheckpointError(`tokenizer.json's model must be of type BPE for CLIPTokenizer, got ${type}`, {
      where,
      hint: "the file belongs to another class of tokenizer",
    });
  }
  const merges = checkValue(model.merges, mergesSchema, place, "tokenizer.json", "model.merges");
  return checkedModel(checkedVocabulary(model.vocab, where), merges, where);
}

/** Ids by token; not a schema's record, which leaves out tokens named as an object's own properties ("constructor"). */
function checkedVocabulary(value: unknown, where: string): Model["vocabulary"] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    const got = Array.isArray(value) ? "a list" : value === null ? "null" : typeof value;
    throw new CheckpointError(`the tokenizer's vocabulary must be an object of ids by token, got ${got}`, { where, hint: HINT });
  }
  for (const [token, id] of Object.entries(value)) {
    if (Number.isSafeInteger(id) && id >= 0) continue;
    throw new CheckpointError(`the tokenizer's vocabulary must give ${JSON.stringify(token)} an id, got ${JSON.stringify(id)}`, {
      where,
      hint: HINT,
    });
  }
  return value as Model["vocabulary"];
}

/** Splits lines at their space, and refuses merges of or into tokens that the vocabulary lacks. */
function checkedModel(vocabulary: Model["vocabulary"], entries: readonly (string | readonly string[])[], where: string): Model {
  const merges = entries.map((entry, index): readonly [string, string] => {
    const pair = typeof entry === "string" ? entry.split(" ") : entry;
    const [left = "", right = ""] = pair;
    const isKnown = [left, right, left + right].every((token) => Object.hasOwn(vocabulary, token));
    if (pair.length === 2 && isKnown) return [left, right];
    throw new CheckpointError(
      `merge ${index + 1} of the tokenizer must join two tokens of its vocabulary into a third, got ${JSON.stringify(pair.join(" "))}`,
      {
        where,
        hint: HINT,
      },
    );
  });
  return { vocabulary, merges };
}
