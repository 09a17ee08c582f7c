/**
 * Makes a T5 tokenizer from a folder: from tokenizer.json if there is one, else from spiece.model, with the JSON files beside it.
 *
 * Of tokenizer.json only pieces, charsmap and added tokens count, as in transformers' T5Tokenizer, which sets the other steps itself.
 * Pieces from spiece.model are followed by a piece of score 0 for each sentinel, the last one first.
 * Source: transformers tokenization_utils_tokenizers.py (convert_to_native_format) and convert_slow_tokenizer.py (T5Converter), @5.23.0.
 */
import * as v from "valibot";
import { CheckpointError, UnsupportedError } from "../errors.ts";
import { Charsmap } from "./charsmap.ts";
import { readSentencePiece, type ScoredPiece } from "./sentence-piece.ts";
import { mergeAddedTokens, sentinels } from "./t5-added-tokens.ts";
import {
  addedTokensSchema,
  configSchema,
  specialTokensMapSchema,
  type T5Config,
  type TokenizerJson,
  tokenizerJsonSchema,
  unigramVocabularySchema,
} from "./t5-schema.ts";
import { T5Tokenizer, UNKNOWN_ID } from "./t5-tokenizer.ts";
import { checkValue, nameOfFile, readBytes, readJson, type TokenizerFolder } from "./tokenizer-files.ts";

const HINT = "get the tokenizer's files again";

interface Pieces {
  readonly pieces: ScoredPiece[];
  readonly charsmap: Charsmap | undefined;
  readonly symbols?: readonly { readonly content: string; readonly isControl: boolean }[];
}

/**
 * Reads a T5 tokenizer.
 *
 * Errors: CheckpointError when files are missing or damaged; UnsupportedError for settings that halftone does not follow.
 */
export async function readT5Tokenizer(place: TokenizerFolder): Promise<T5Tokenizer> {
  const config = (await readJson(place, "tokenizer_config.json", configSchema)) ?? v.parse(configSchema, {});
  const configName = nameOfFile(place, "tokenizer_config.json");
  refuseLeftSides(config, configName);
  const tokenizerJson = await readJson(place, "tokenizer.json", tokenizerJsonSchema);
  const { pieces, charsmap, symbols } =
    tokenizerJson === undefined ? await piecesOfModel(place, config.extra_ids) : piecesOfJson(tokenizerJson, place);
  if (pieces.length <= UNKNOWN_ID) {
    throw new CheckpointError(`the tokenizer must have at least ${UNKNOWN_ID + 1} pieces, got ${pieces.length}`, {
      where: nameOfFile(place, tokenizerJson === undefined ? "spiece.model" : "tokenizer.json"),
      hint: HINT,
    });
  }
  const specialTokensMap = await readJson(place, "special_tokens_map.json", specialTokensMapSchema);
  const addedTokens = await readJson(place, "added_tokens.json", addedTokensSchema);
  const merged = mergeAddedTokens({ config, specialTokensMap, addedTokens, tokenizerJson, symbols }, configName);
  return new T5Tokenizer({
    pieces,
    charsmap,
    addedTokens: merged.tokens,
    eosToken: merged.eosToken,
    padToken: merged.padToken,
    modelMaxLength: limitOf(config),
    splitSpecialTokens: config.split_special_tokens ?? false,
    cleansUpSpaces: config.clean_up_tokenization_spaces ?? false,
  });
}

async function piecesOfModel(place: TokenizerFolder, extraIds: number): Promise<Pieces> {
  const bytes = await readBytes(place, "spiece.model");
  if (bytes === undefined) {
    throw new CheckpointError("the tokenizer has neither tokenizer.json nor spiece.model", {
      where: nameOfFile(place, ""),
      hint: "the download may be incomplete; get the tokenizer's files again",
    });
  }
  const where = nameOfFile(place, "spiece.model");
  const { pieces, charsmap, symbols } = readSentencePiece(bytes, where);
  for (const sentinel of sentinels(extraIds).reverse()) pieces.push([sentinel, 0]);
  return { pieces, charsmap: charsmap && new Charsmap(charsmap, where), symbols };
}

function piecesOfJson({ model, normalizer }: TokenizerJson, place: TokenizerFolder): Pieces {
  const where = nameOfFile(place, "tokenizer.json");
  const type = model.type ?? (Array.isArray(model.vocab) ? "Unigram" : "none");
  if (type !== "Unigram") {
    throw new CheckpointError(`tokenizer.json's model must be of type Unigram for T5Tokenizer, got ${type}`, {
      where,
      hint: "the file belongs to another class of tokenizer",
    });
  }
  const pieces = checkValue(model.vocab, unigramVocabularySchema, place, "tokenizer.json", "model.vocab");
  const normalizers = normalizer?.normalizers ?? (normalizer ? [normalizer] : []);
  const encoded = normalizers.find((step) => step.type === "Precompiled")?.precompiled_charsmap;
  return { pieces, charsmap: encoded ? new Charsmap(decodeBase64(encoded, where), where) : undefined };
}

function decodeBase64(text: string, where: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch (cause) {
    throw new CheckpointError("the tokenizer's charsmap is damaged: expected base64, got other characters", { where, hint: HINT, cause });
  }
}

/** Python writes "no limit" as 1e30. */
function limitOf(config: T5Config): number {
  const limit = config.model_max_length ?? config.max_len ?? Number.POSITIVE_INFINITY;
  return limit > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : limit;
}

function refuseLeftSides(config: T5Config, where: string): void {
  for (const key of ["padding_side", "truncation_side"] as const) {
    const side = config[key] ?? "right";
    if (side !== "right") throw new UnsupportedError(`the tokenizer's ${key} "${side}" is not supported, only "right"`, { where });
  }
}
