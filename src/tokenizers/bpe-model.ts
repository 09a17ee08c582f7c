/**
 * The model of a tokenizer by byte-pair encoding: ids by token, and the pairs of neighbours in the order in which they are merged. It stands
 * in tokenizer.json, in files of its own, or is made of the pieces of a sentencepiece model.
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

/** Merges of tokenizer.json: pairs or, in older files, halves with a space between. */
const mergesSchema = v.array(v.union([v.string(), v.array(v.string())]));

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
  const merges = checkValue(model.merges, mergesSchema, place, "tokenizer.json", "model.merges");
  const vocabulary = checkedVocabulary(model.vocab, where);
  return { vocabulary, merges: checkedMerges(vocabulary, merges, where) };
}

/**
 * Reads a model from vocab.json, already parsed, and the text of merges.txt.
 *
 * Errors: CheckpointError when one is damaged.
 */
export function bpeModelOfText(vocab: unknown, text: string, place: TokenizerFolder): BpeModel {
  const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
  if (lines.at(-1) === "") lines.pop();
  const vocabulary = checkedVocabulary(vocab, nameOfFile(place, "vocab.json"));
  const merges = lines.filter((line) => !line.startsWith("#version"));
  return { vocabulary, merges: checkedMerges(vocabulary, merges, nameOfFile(place, "merges.txt")) };
}

/** Ids by token; not a schema's record, which leaves out tokens named as an object's own properties ("constructor"). */
function checkedVocabulary(value: unknown, where: string): BpeModel["vocabulary"] {
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
  return value as BpeModel["vocabulary"];
}

/** Splits lines at their space, and refuses merges of or into tokens that the vocabulary lacks. */
function checkedMerges(
  vocabulary: BpeModel["vocabulary"],
  entries: readonly (string | readonly string[])[],
  where: string,
): BpeModel["merges"] {
  return entries.map((entry, index) => {
    const pair = typeof entry === "string" ? entry.split(" ") : entry;
    const [left = "", right = ""] = pair;
    const isKnown = [left, right, left + right].every((token) => Object.hasOwn(vocabulary, token));
    if (pair.length === 2 && isKnown) return [left, right] as const;
    const got = JSON.stringify(pair.join(" "));
    throw new CheckpointError(`merge ${index + 1} of the tokenizer must join two tokens of its vocabulary into a third, got ${got}`, {
      where,
      hint: HINT,
    });
  });
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
