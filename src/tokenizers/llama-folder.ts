/**
 * Makes a Llama tokenizer from a folder: from tokenizer.json if there is one, else from tokenizer.model, with the JSON files beside it.
 *
 * Of tokenizer.json vocabulary, merges, added tokens, post-processor and padding count, as in transformers' LlamaTokenizer, which sets the
 * other steps itself. The post-processor alone says whether bos and eos are added: `add_bos_token` and `add_eos_token` of the config only
 * count beside tokenizer.model.
 * Source: transformers models/llama/tokenization_llama.py, tokenization_utils_tokenizers.py (convert_to_native_format, __init__),
 * tokenization_utils_base.py (_from_pretrained), @5.23.0.
 */
import * as v from "valibot";
import { CheckpointError, UnsupportedError } from "../errors.ts";
import { type MergedTokens, mergeAddedTokens } from "./added-token-files.ts";
import { type BpeModel, bpeModelOfJson, bpeModelOfPieces } from "./bpe-model.ts";
import { LlamaTokenizer } from "./llama-tokenizer.ts";
import { readSentencePiece } from "./sentence-piece.ts";
import {
  modelMaxLengthOf,
  readTokenizerJsonFiles,
  type TokenEntry,
  type TokenizerJson,
  tokenizerConfigSchema,
} from "./tokenizer-config.ts";
import { checkValue, nameOfFile, readBytes, type TokenizerFolder } from "./tokenizer-files.ts";

/** tokenizer_config.json of Llama. */
const configSchema = v.object({
  ...tokenizerConfigSchema.entries,
  add_bos_token: v.nullish(v.boolean()),
  add_eos_token: v.nullish(v.boolean()),
  add_prefix_space: v.nullish(v.boolean()),
  legacy: v.nullish(v.boolean()),
});
type LlamaConfig = v.InferOutput<typeof configSchema>;

/** A step of a template: the text ("A"), or a token. */
const step = v.union([v.object({ Sequence: v.object({ id: v.literal("A") }) }), v.object({ SpecialToken: v.object({ id: v.string() }) })]);
const templateSchema = v.object({ single: v.array(step) });

interface Pieces {
  readonly model: BpeModel;
  readonly symbols?: readonly TokenEntry[];
}

/**
 * Reads a Llama tokenizer.
 *
 * Errors: CheckpointError when files are missing or damaged; UnsupportedError for settings that halftone does not follow.
 */
export async function readLlamaTokenizer(place: TokenizerFolder): Promise<LlamaTokenizer> {
  const files = await readTokenizerJsonFiles(place, configSchema, ["left", "right"]);
  const { config, tokenizerJson } = files;
  const { model, symbols } =
    tokenizerJson === undefined ? await piecesOfModel(place) : { model: bpeModelOfJson(tokenizerJson, "LlamaTokenizer", place) };
  const padding = tokenizerJson?.padding;
  const merged = mergeAddedTokens(
    files,
    {
      named: [
        ["unk_token", "<unk>"],
        ["bos_token", "<s>"],
        ["eos_token", "</s>"],
        ...(padding?.pad_token ? [["pad_token", padding.pad_token] as const] : []),
      ],
      additional: (listed) => symbols ?? listed,
    },
    nameOfFile(place, "tokenizer_config.json"),
  );
  const around = tokenizerJson === undefined ? aroundByConfig(config, merged) : aroundByJson(tokenizerJson, merged, place);
  return new LlamaTokenizer({
    model,
    addedTokens: merged.tokens,
    ...around,
    padToken: merged.textOf("pad_token"),
    paddingSide: (config.padding_side ?? padding?.direction?.toLowerCase()) === "right" ? "right" : "left",
    prefixSpace: config.add_prefix_space === false ? "never" : config.legacy ? "always" : "first",
    modelMaxLength: modelMaxLengthOf(config),
    splitSpecialTokens: config.split_special_tokens ?? false,
  });
}

async function piecesOfModel(place: TokenizerFolder): Promise<Pieces> {
  const bytes = await readBytes(place, "tokenizer.model");
  if (bytes === undefined) {
    throw new CheckpointError("the tokenizer has neither tokenizer.json nor tokenizer.model", {
      where: nameOfFile(place, ""),
      hint: "the download may be incomplete; get the tokenizer's files again",
    });
  }
  const { pieces, symbols } = readSentencePiece(bytes, nameOfFile(place, "tokenizer.model"), "BPE");
  return {
    model: bpeModelOfPieces(pieces.map(([piece]) => piece)),
    symbols: symbols.map(({ content, isControl }) => ({ content, special: isControl, normalized: false })),
  };
}

interface Around {
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
}

function aroundByConfig(config: LlamaConfig, merged: MergedTokens): Around {
  return {
    bosToken: config.add_bos_token ? merged.find("bos_token") : undefined,
    eosToken: config.add_eos_token ? merged.find("eos_token") : undefined,
  };
}

function aroundByJson({ post_processor: value }: TokenizerJson, merged: MergedTokens, place: TokenizerFolder): Around {
  if (value === undefined || value === null) return { bosToken: undefined, eosToken: undefined };
  const where = nameOfFile(place, "tokenizer.json");
  const { type } = checkValue(value, v.object({ type: v.string() }), place, "tokenizer.json", "post_processor");
  if (type !== "TemplateProcessing") {
    throw new UnsupportedError(`the tokenizer's post_processor "${type}" is not supported, only "TemplateProcessing"`, { where });
  }
  const { single } = checkValue(value, templateSchema, place, "tokenizer.json", "post_processor");
  const texts = single.map((entry) => ("SpecialToken" in entry ? entry.SpecialToken.id : undefined));
  const at = texts.indexOf(undefined);
  if (at < 0 || at > 1 || at < texts.length - 2 || texts.lastIndexOf(undefined) !== at) {
    throw new UnsupportedError("the tokenizer's post_processor must put at most one token before a text and one behind it", { where });
  }
  const stranger = texts.find((text) => text !== undefined && !merged.tokens.some(({ content }) => content === text));
  if (stranger === undefined) return { bosToken: texts[at - 1], eosToken: texts[at + 1] };
  throw new CheckpointError(`the tokenizer's post_processor must put special tokens around a text, got ${JSON.stringify(stranger)}`, {
    where,
    hint: "get the tokenizer's files again",
  });
}
