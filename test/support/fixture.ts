/** Reads the fixtures that reference/ wrote: NAME.json lists cases, NAME.safetensors holds `<case>.inputs.<tensor>` and `<case>.outputs.<tensor>`. */
import { fileURLToPath } from "node:url";
import type { ComputeDType } from "../../src/tensor/dtype.ts";
import { type FixtureTensor, readFixtureJson, readTensors } from "./tensor-file.ts";

export type { FixtureTensor } from "./tensor-file.ts";

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
export function readFixture(path: string): FixtureCase[] {
  const meta = readFixtureJson<{ cases: { name: string; dtype?: ComputeDType }[] }>(`${path}.json`);
  const tensors = readTensors(`${path}.safetensors`);
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
