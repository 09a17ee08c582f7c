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
import { type BpeModel, bpeModelOfJson, bpeModelOfText } from "./bpe-model.ts";
import { ClipTokenizer } from "./clip-tokenizer.ts";
import { modelMaxLengthOf, readTokenizerJsonFiles, tokenizerConfigSchema } from "./tokenizer-config.ts";
import { nameOfFile, readJson, readText, type TokenizerFolder } from "./tokenizer-files.ts";

const END = "<|endoftext|>";

const TOKENS: ClassTokens = {
  named: [
    ["bos_token", "<|startoftext|>"],
    ["eos_token", END],
    ["unk_token", END],
    ["pad_token", END],
  ],
  additional: (listed) => listed,
};

/**
 * Reads a CLIP tokenizer.
 *
 * Errors: CheckpointError when files are missing or damaged; UnsupportedError for settings that halftone does not follow.
 */
export async function readClipTokenizer(place: TokenizerFolder): Promise<ClipTokenizer> {
  const files = await readTokenizerJsonFiles(place, tokenizerConfigSchema);
  const { config, tokenizerJson } = files;
  const model = tokenizerJson === undefined ? await modelOfText(place) : bpeModelOfJson(tokenizerJson, "CLIPTokenizer", place);
  const { tokens, textOf } = mergeAddedTokens(files, TOKENS, nameOfFile(place, "tokenizer_config.json"));
  return new ClipTokenizer({
    model,
    addedTokens: tokens,
    bosToken: textOf("bos_token"),
    eosToken: textOf("eos_token"),
    padToken: textOf("pad_token"),
    unknownToken: textOf("unk_token"),
    modelMaxLength: modelMaxLengthOf(config),
    splitSpecialTokens: config.split_special_tokens ?? false,
  });
}

async function modelOfText(place: TokenizerFolder): Promise<BpeModel> {
  const vocabulary = await readJson(place, "vocab.json", v.unknown());
  const text = await readText(place, "merges.txt");
  if (vocabulary !== undefined && text !== undefined) return bpeModelOfText(vocabulary, text, place);
  const lack = vocabulary === undefined ? (text === undefined ? "vocab.json and merges.txt" : "vocab.json") : "merges.txt";
  throw new CheckpointError(`the tokenizer has neither tokenizer.json nor ${lack}`, {
    where: nameOfFile(place, ""),
    hint: "the download may be incomplete; get the tokenizer's files again",
  });
}
