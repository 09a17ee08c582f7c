import { readFileSync } from "node:fs";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { CheckpointError } from "../errors.ts";
import { ModelProtoSchema } from "./proto/sentencepiece_pb.ts";
import { readSentencePiece } from "./sentence-piece.ts";

const file = readFileSync(new URL("../../test/fixtures/tokenizers/stress/spiece.model", import.meta.url));
const WHERE = "tokenizer/spiece.model";

function bytesOf(message: MessageInitShape<typeof ModelProtoSchema>): Uint8Array {
  return toBinary(ModelProtoSchema, create(ModelProtoSchema, message));
}

test("reads pieces, scores, symbols and charsmap", () => {
  const { pieces, symbols, charsmap } = readSentencePiece(file, WHERE);
  expect(pieces).toHaveLength(700);
  expect(pieces.slice(0, 4)).toEqual(["<pad>", "</s>", "<s>", "<unk>"].map((piece) => [piece, 0]));
  expect(pieces[100]?.[1]).toBeLessThan(0);
  expect(symbols.map(({ content }) => content)).toEqual(["<pad>", "</s>", "<s>", "<cls>", "<sep>", "[X]"]);
  expect(symbols.map(({ isControl }) => isControl)).toEqual([true, true, true, true, false, false]);
  expect(charsmap).toBeUndefined();
});

const pieces = [{ piece: "a", score: -1 }];
test.each([
  [
    "other bytes",
    new TextEncoder().encode("not a model"),
    /expected a protobuf message of 11 bytes, got one that breaks off or is another/,
  ],
  [
    "a Git LFS pointer",
    new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\n"),
    /expected a protobuf message of 43 bytes/,
  ],
  ["no bytes", new Uint8Array(), /expected pieces, got none/],
  ["no pieces", bytesOf({ trainerSpec: {}, normalizerSpec: {} }), /expected pieces, got none/],
  ["no normalizer", bytesOf({ pieces, trainerSpec: {} }), /expected a normalizer after its 1 pieces, got the end of the file/],
  [
    "a score that is no number",
    bytesOf({ pieces: [...pieces, { piece: "b", score: Number.NaN }], trainerSpec: {}, normalizerSpec: {} }),
    /expected finite scores, got NaN for piece 1/,
  ],
  [
    "a flood of empty pieces",
    new Uint8Array(2_000_010).fill(0).map((_, index) => (index % 2 ? 0 : 10)),
    /expected at most 1000000 pieces, got 1000005/,
  ],
])("refuses %s", (_, bytes, problem) => {
  const read = () => readSentencePiece(bytes, WHERE);
  expect(read).toThrow(CheckpointError);
  expect(read).toThrow(problem);
  expect(read).toThrow(/^the sentencepiece model is damaged: /);
});

test.each([
  [2, "BPE"],
  [3, "word"],
  [9, "number 9"],
])("refuses algorithm %s by name", (modelType, name) => {
  const bytes = bytesOf({ pieces, trainerSpec: { modelType }, normalizerSpec: {} });
  expect(() => readSentencePiece(bytes, WHERE)).toThrow(
    new CheckpointError(`the sentencepiece model must be of the unigram algorithm, got ${name}`, {
      where: WHERE,
      hint: "the file belongs to another class of tokenizer",
    }),
  );
});

test("a file cut anywhere is refused, unless all that is read stands before the cut", () => {
  const whole = readSentencePiece(file, WHERE);
  let refused = 0;
  for (let length = 0; length < file.length; length += 7) {
    try {
      expect(readSentencePiece(file.subarray(0, length), WHERE)).toEqual(whole);
    } catch (error) {
      expect(error).toBeInstanceOf(CheckpointError);
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(file.length / 7 - 10);
});

test("any bytes are read or refused", () => {
  const change = fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(change, (changes) => {
      const bytes = new Uint8Array(file);
      for (const [at, value] of changes) bytes[at] = value;
      try {
        readSentencePiece(bytes, WHERE);
      } catch (error) {
        expect(error).toBeInstanceOf(CheckpointError);
      }
    }),
    { numRuns: 300 },
  );
});
