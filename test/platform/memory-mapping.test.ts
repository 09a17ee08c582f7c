/** Weights of a file are mapped by the engine: pages that the system may drop, not a copy in the process's own memory. */
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import type { ByteSource } from "../../src/checkpoint/byte-source.ts";
import { openFile } from "../../src/checkpoint/file-source-node.ts";
import { Graph } from "../../src/graph/graph.ts";
import { matMulTransposed } from "../../src/graph/operators.ts";
import { memoryUse } from "../../src/runtime/memory-node.ts";
import { onnxRuntimeNode } from "../../src/runtime/onnxruntime-node.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";

const MEBIBYTE = 2 ** 20;
/** 64 MiB of float32. */
const SIDE = 4096;
const WEIGHT_BYTES = 4 * SIDE * SIDE;

describe("a program over 64 MiB of weights", () => {
  it.skipIf(process.platform !== "linux")("maps them where they lie in a file (Linux only: RssAnon of /proc/self/status)", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "halftone-mapping-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const source = await openFile(writeOnes(path.join(folder, "weight.bin")));
    onTestFinished(() => source.close());
    // The engine's own memory is there before anything is measured.
    await growth(source, 1);
    const mapped = await growth(source, SIDE);

    expect(mapped).toBeLessThan(16 * MEBIBYTE);

    // The same measurement sees a copy where there is one.
    const copied = await growth(withoutFile(source), SIDE);

    expect(copied).toBeGreaterThan(WEIGHT_BYTES * 0.9);
  });
});

/** By how many bytes the process's own memory has grown while a program that multiplies by `rows` of the weight is held, after a run. */
async function growth(source: ByteSource, rows: number): Promise<number> {
  const g = new Graph("float32");
  const stored = { name: "weight", dtype: "float32", shape: [rows, SIDE], source, offset: 0, sizeBytes: 4 * rows * SIDE } as const;
  g.output("sums", matMulTransposed(g, g.input("x", [1, SIDE]), g.weight(stored)));
  const before = memoryUse().anonymousBytes as number;
  const program = await onnxRuntimeNode({ threads: 1 }).compile(g, { keepScratchMemory: false });
  try {
    const { sums } = await program.run({ x: floatTensor([1, SIDE], new Float32Array(SIDE).fill(1)) });
    expect(new Set(sums?.data as Float32Array)).toEqual(new Set([SIDE]));
    return (memoryUse().anonymousBytes as number) - before;
  } finally {
    await program.dispose();
  }
}

/** The same bytes, as if they lay in no file: the engine is given a copy. */
function withoutFile(source: ByteSource): ByteSource {
  const { name, sizeBytes } = source;
  return { name, sizeBytes, file: undefined, read: (offset, length) => source.read(offset, length), close: async () => {} };
}

/** Writes a weight of ones, piece by piece, so that no large memory is freed while the test measures. */
function writeOnes(file: string): string {
  const piece = Buffer.from(new Float32Array(MEBIBYTE / 4).fill(1).buffer);
  const descriptor = openSync(file, "w");
  for (let written = 0; written < WEIGHT_BYTES; written += piece.length) writeSync(descriptor, piece);
  closeSync(descriptor);
  return file;
}
