/**
 * Reads a sentencepiece model file (spiece.model, tokenizer.model): the pieces with their scores, and the charsmap of its normalizer.
 *
 * The file is a protobuf message without length or checksum, so a cut file may still parse: sentencepiece writes the normalizer after the
 * pieces, and a file without one is refused as incomplete.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import { CheckpointError } from "../errors.ts";
import { type ModelProto, ModelProtoSchema } from "./proto/sentencepiece_pb.ts";

/** More pieces than any model has (the largest in use: 256,000), so that a hostile file cannot fill the memory with empty ones. */
const MOST_PIECES = 1_000_000;
const PIECES_FIELD = 1;
/** The kind of a piece, as sentencepiece numbers them; 1 is an ordinary piece. */
const CONTROL = 3;
const USER_DEFINED = 4;
const ALGORITHMS: Readonly<Record<number, string>> = { 1: "unigram", 2: "BPE", 3: "word", 4: "character" };

/** A piece and its score (log probability); its id is its place in the list. */
export type ScoredPiece = [text: string, score: number];

/** A model of sentencepiece. */
export interface SentencePieceModel {
  readonly pieces: ScoredPiece[];
  /** Control symbols and user-defined symbols, by id, which are found in a text before it is cut into pieces. */
  readonly symbols: readonly { readonly content: string; readonly isControl: boolean }[];
  readonly charsmap: Uint8Array | undefined;
}

/**
 * Parses a sentencepiece model.
 *
 * Errors: CheckpointError when it is not such a file, is cut, has no pieces, or holds another algorithm than the asked one.
 */
export function readSentencePiece(bytes: Uint8Array, where: string, algorithm: "unigram" | "BPE" = "unigram"): SentencePieceModel {
  const proto = parse(bytes, where);
  const { pieces, trainerSpec, normalizerSpec } = proto;
  if (pieces.length === 0) throw damaged("expected pieces, got none", where);
  if (trainerSpec === undefined || normalizerSpec === undefined) {
    throw damaged(`expected a normalizer after its ${pieces.length} pieces, got the end of the file`, where);
  }
  const got = ALGORITHMS[trainerSpec.modelType] ?? `number ${trainerSpec.modelType}`;
  if (got !== algorithm) {
    throw new CheckpointError(`the sentencepiece model must be of the ${algorithm} algorithm, got ${got}`, {
      where,
      hint: "the file belongs to another class of tokenizer",
    });
  }
  const unscored = pieces.findIndex((piece) => !Number.isFinite(piece.score));
  if (unscored >= 0) throw damaged(`expected finite scores, got ${pieces[unscored]?.score} for piece ${unscored}`, where);
  const symbols = pieces
    .filter((piece) => piece.type === CONTROL || piece.type === USER_DEFINED)
    .map((piece) => ({ content: piece.piece, isControl: piece.type === CONTROL }));
  const charsmap = normalizerSpec.precompiledCharsmap;
  return {
    pieces: pieces.map((piece) => [piece.piece, piece.score]),
    symbols,
    charsmap: charsmap.length === 0 ? undefined : charsmap,
  };
}

function parse(bytes: Uint8Array, where: string): ModelProto {
  try {
    const count = countPieces(bytes);
    if (count > MOST_PIECES) throw damaged(`expected at most ${MOST_PIECES} pieces, got ${count}`, where);
    return fromBinary(ModelProtoSchema, bytes);
  } catch (cause) {
    if (cause instanceof CheckpointError) throw cause;
    throw damaged(`expected a protobuf message of ${bytes.length} bytes, got one that breaks off or is another format`, where, cause);
  }
}

function countPieces(bytes: Uint8Array): number {
  const reader = new BinaryReader(bytes);
  let count = 0;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === PIECES_FIELD) count++;
    reader.skip(wireType, field);
  }
  return count;
}

function damaged(problem: string, where: string, cause?: unknown): CheckpointError {
  return new CheckpointError(`the sentencepiece model is damaged: ${problem}`, { where, hint: "get the tokenizer's files again", cause });
}
