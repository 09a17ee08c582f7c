/**
 * Makes a T5 tokenizer from a folder: from tokenizer.json if there is one, else from spiece.model, with the JSON files beside it.
 *
 * Of tokenizer.json only pieces, charsmap and added tokens count, as in transformers' T5Tokenizer, which sets the other steps itself.
 * Pieces from spiece.model are followed by a piece of score 0 for each sentinel, the last one first.
 * Source: transformers tokenization_utils_tokenizers.py (convert_to_native_format) and convert_slow_tokenizer.py (T5Converter), @5.23.0.
 */
import * as v from "valibot";
import { CheckpointError } from "../errors.ts";
import { type ClassTokens, mergeAddedTokens, textOf } from "./added-token-files.ts";
import { Charsmap } from "./charsmap.ts";
import { readSentencePiece, type ScoredPiece } from "./sentence-piece.ts";
import { T5Tokenizer, UNKNOWN_ID } from "./t5-tokenizer.ts";
import { modelMaxLengthOf, readTokenizerJsonFiles, type TokenizerJson, tokenizerConfigSchema } from "./tokenizer-config.ts";
import { checkValue, nameOfFile, readBytes, type TokenizerFolder } from "./tokenizer-files.ts";

const HINT = "get the tokenizer's files again";

/** tokenizer_config.json of T5. */
const configSchema = v.object({
  ...tokenizerConfigSchema.entries,
  extra_ids: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100_000)), 100),
});

/** The pieces of a unigram model in tokenizer.json. */
const unigramVocabularySchema = v.array(v.strictTuple([v.string(), v.pipe(v.number(), v.finite())]));

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
  const files = await readTokenizerJsonFiles(place, configSchema);
  const { config, tokenizerJson } = files;
  const { pieces, charsmap, symbols } =
    tokenizerJson === undefined ? await piecesOfModel(place, config.extra_ids) : piecesOfJson(tokenizerJson, place);
  if (pieces.length <= UNKNOWN_ID) {
    throw new CheckpointError(`the tokenizer must have at least ${UNKNOWN_ID + 1} pieces, got ${pieces.length}`, {
      where: nameOfFile(place, tokenizerJson === undefined ? "spiece.model" : "tokenizer.json"),
      hint: HINT,
    });
  }
  const configName = nameOfFile(place, "tokenizer_config.json");
  const merged = mergeAddedTokens(files, tokensOfT5(config.extra_ids, symbols, configName), configName);
  return new T5Tokenizer({
    pieces,
    charsmap,
    addedTokens: merged.tokens,
    eosToken: merged.textOf("eos_token"),
    padToken: merged.textOf("pad_token"),
    modelMaxLength: modelMaxLengthOf(config),
    splitSpecialTokens: config.split_special_tokens ?? false,
    cleansUpSpaces: config.clean_up_tokenization_spaces ?? false,
  });
}

/**
 * T5's tokens: its extra ones are the symbols of spiece.model, or those listed, and the sentinels "<extra_id_N>" unless some are listed. The
 * pieces made for sentinels run downwards from "<extra_id_99>".
 *
 * Errors: CheckpointError when extra_ids contradicts the listed sentinels.
 * Source: transformers models/t5/tokenization_t5.py@5.23.0.
 */
function tokensOfT5(extraIds: number, symbols: Pieces["symbols"], where: string): ClassTokens {
  return {
    named: [
      ["eos_token", "</s>"],
      ["unk_token", "<unk>"],
      ["pad_token", "<pad>"],
    ],
    additional: (others) => {
      const additional = symbols?.map(({ content, isControl }) => ({ content, special: isControl, normalized: false })) ?? others;
      const listed = additional.filter((entry) => textOf(entry).includes("<extra_id_")).length;
      if (listed > 0 && extraIds > 0 && listed !== extraIds) {
        throw new CheckpointError(
          `the tokenizer's extra_ids must be the number of listed <extra_id_N> tokens, ${listed}, got ${extraIds}`,
          {
            where,
          },
        );
      }
      return listed > 0 ? additional : [...additional, ...sentinels(extraIds)];
    },
  };
}

function sentinels(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `<extra_id_${index}>`);
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
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    // Uint8Array.from with a function takes ten times as long.
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    return bytes;
  } catch (cause) {
    throw new CheckpointError("the tokenizer's charsmap is damaged: expected base64, got other characters", { where, hint: HINT, cause });
  }
}
