/** Reads the fixtures that reference/ wrote: NAME.json lists cases, NAME.safetensors holds `<case>.inputs.<tensor>` and `<case>.outputs.<tensor>`. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import { readSafetensors } from "../../src/checkpoint/safetensors.ts";
import { readTensor } from "../../src/checkpoint/stored-tensor.ts";
import type { ComputeDType } from "../../src/tensor/dtype.ts";

/** A tensor of a fixture: floats as Float32Array, integers as numbers. */
export interface FixtureTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
  /** The values as a plain list, for ids and masks. */
  readonly integers: number[];
}

/** One case: what went in and what the reference made of it. */
export interface FixtureCase {
  readonly name: string;
  readonly dtype: ComputeDType;
  readonly meta: Readonly<Record<string, unknown>>;
  readonly inputs: Readonly<Record<string, FixtureTensor>>;
  readonly outputs: Readonly<Record<string, FixtureTensor>>;
}

/** Absolute path below test/fixtures. */
export function fixturePath(path: string): string {
  return fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));
}

/** Reads a fixture's cases; `path` is without the ending. */
export async function readFixture(path: string): Promise<FixtureCase[]> {
  const meta = JSON.parse(readFileSync(fixturePath(`${path}.json`), "utf8")) as { cases: { name: string; dtype?: ComputeDType }[] };
  const tensors = await readTensors(`${path}.safetensors`);
  const part = (name: string, kind: string) => {
    const prefix = `${name}.${kind}.`;
    const entries = Array.from(tensors).filter(([key]) => key.startsWith(prefix));
    return Object.fromEntries(entries.map(([key, tensor]) => [key.slice(prefix.length), tensor]));
  };
  return meta.cases.map((found) => ({
    name: found.name,
    dtype: found.dtype ?? "float32",
    meta: found,
    inputs: part(found.name, "inputs"),
    outputs: part(found.name, "outputs"),
  }));
}

/** Reads all tensors of a safetensors file below test/fixtures. */
async function readTensors(path: string): Promise<Map<string, FixtureTensor>> {
  const file = await readSafetensors(memorySource(path, new Uint8Array(readFileSync(fixturePath(path)))));
  const result = new Map<string, FixtureTensor>();
  for (const stored of file.tensors.values()) {
    const bytes = await readTensor(stored);
    const { buffer } = bytes.slice();
    const integers = stored.dtype === "int64" ? Array.from(new BigInt64Array(buffer), Number) : [];
    const values = stored.dtype === "float32" ? new Float32Array(buffer) : Float32Array.from(stored.dtype === "uint8" ? bytes : integers);
    result.set(stored.name, { shape: stored.shape, values, integers });
  }
  return result;
}
