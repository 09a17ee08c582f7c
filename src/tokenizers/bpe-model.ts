/**
 * The model of a tokenizer by byte-pair encoding: ids by token, and the pairs of neighbours in the order in which they are merged. It stands
 * in tokenizer.json, or is made of the pieces of a sentencepiece model.
 */
import * as v from "valibot";
import { CheckpointError } from "../errors.ts";
import type { TokenizerJson } from "./tokenizer-config.ts";
import { checkValue, nameOfFile, type TokenizerFolder } from "./tokenizer-files.ts";

/** A vocabulary and its merges; both halves of a merge and what they make are in the vocabulary. */
export interface BpeModel {
  readonly vocabulary: Readonly<Record<string, number>>;
  readonly merges: readonly (readonly [string, string])[];
}

const HINT = "get the tokenizer's files again";

/** Ids by token: no v.record, which leaves out tokens that are named as an object's own properties ("constructor"). */
const vocabularySchema = v.pipe(
  v.custom<Record<string, number>>((value) => typeof value === "object" && value !== null && !Array.isArray(value), "Object"),
  v.check((vocabulary) => Object.values(vocabulary).every((id) => Number.isSafeInteger(id) && id >= 0), "ids by token"),
);

/** Merges of tokenizer.json: pairs or, in older files, halves with a space between. */
const mergesSchema = v.array(v.union([v.string(), v.strictTuple([v.string(), v.string()])]));

/**
 * Reads the model in tokenizer.json; `className` is the class that is to read it.
 *
 * Errors: CheckpointError when it is of another type or damaged.
 */
export function bpeModelOfJson({ model }: TokenizerJson, className: string, place: TokenizerFolder): BpeModel {
  const where = nameOfFile(place, "tokenizer.json");
  const type = model.type ?? (Array.isArray(model.merges) ? "BPE" : "none");
  if (type !== "BPE") {
    throw new CheckpointError(`tokenizer.json's model must be of type BPE for ${className}, got ${type}`, {
      where,
      hint: "the file belongs to another class of tokenizer",
    });
  }
  const vocabulary = checkValue(model.vocab, vocabularySchema, place, "tokenizer.json", "model.vocab");
  const entries = checkValue(model.merges, mergesSchema, place, "tokenizer.json", "model.merges");
  const merges = entries.map((entry, index): readonly [string, string] => {
    const pair = typeof entry === "string" ? entry.split(" ") : entry;
    const [left = "", right = ""] = pair;
    const isKnown = [left, right, left + right].every((token) => Object.hasOwn(vocabulary, token));
    if (pair.length === 2 && isKnown) return [left, right];
    const got = JSON.stringify(pair.join(" "));
    throw new CheckpointError(`merge ${index + 1} of the tokenizer must join two tokens of its vocabulary into a third, got ${got}`, {
      where,
      hint: HINT,
    });
  });
  return { vocabulary, merges };
}

/**
 * Makes a model of sentencepiece's pieces, by id: every way to put a piece together from two others is a merge, those of low ids first.
 *
 * Source: transformers tokenization_utils_base.py@5.23.0 generate_merges, as convert_slow_tokenizer.py's SentencePieceExtractor calls it.
 */
export function bpeModelOfPieces(pieces: readonly string[]): BpeModel {
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const merges: (readonly [string, string])[] = [];
  for (const piece of pieces) {
    for (let at = nextCharacter(piece, 0); at < piece.length; at = nextCharacter(piece, at)) {
      const [left, right] = [piece.slice(0, at), piece.slice(at)];
      if (ids.has(left) && ids.has(right)) merges.push([left, right]);
    }
  }
  return { vocabulary: Object.fromEntries(ids), merges };
}

function nextCharacter(text: string, at: number): number {
  return at + ((text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1);
}
