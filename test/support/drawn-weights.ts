/**
 * Weights that a fixture describes instead of holding them: drawn here by torch's generator, to the bits that reference/sd3.py drew.
 *
 * weights.json: {seed, sha256, tensors: {name: [shape, mean, deviation]}}; names in order, one generator, float32.
 */
import { createHash } from "node:crypto";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import type { StoredTensor } from "../../src/checkpoint/stored-tensor.ts";
import type { WeightTable } from "../../src/checkpoint/weights.ts";
import { TorchGenerator } from "../../src/random/torch-generator.ts";
import { readFixtureJson } from "./tensor-file.ts";

interface Description {
  readonly seed: number;
  readonly sha256: string;
  readonly tensors: Readonly<Record<string, readonly [shape: number[], mean: number, deviation: number]>>;
}

/** Draws the weights that `path`/weights.json describes. */
export function drawWeights(path: string): WeightTable {
  const { seed, sha256, tensors } = readFixtureJson<Description>(`${path}/weights.json`);
  const generator = new TorchGenerator(seed);
  const digest = createHash("sha256");
  const drawn = new Map<string, StoredTensor>();
  for (const [name, [shape, mean, deviation]] of Object.entries(tensors)) {
    const values = generator.randn(shape).data.map((value) => mean + Math.fround(deviation * value));
    const bytes = new Uint8Array(values.buffer);
    digest.update(bytes);
    drawn.set(name, { name, dtype: "float32", shape, source: memorySource(name, bytes), offset: 0, sizeBytes: bytes.length });
  }
  if (digest.digest("hex") !== sha256) throw new Error(`${path}: other weights were drawn than the reference drew`);
  return { component: "transformer", name: path, tensors: drawn };
}
