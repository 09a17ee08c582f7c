/**
 * Reads a fixture's safetensors file whole, with no checks: fixtures are ours. (What halftone does with others' files is in src/checkpoint.)
 */
import { readFileSync } from "node:fs";

/** Returns a fixture's float32 tensors by name, flat; `path` is relative to test/fixtures. Errors: Error for a tensor of another dtype. */
export function readFloatTensors(path: string): Map<string, Float32Array> {
  const bytes = new Uint8Array(readFileSync(new URL(`../fixtures/${path}`, import.meta.url)));
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header: Record<string, { dtype: string; data_offsets: [number, number] }> = JSON.parse(
    new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)),
  );
  const tensors = new Map<string, Float32Array>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (entry.dtype !== "F32") throw new Error(`${path}: ${name} is ${entry.dtype}, expected F32`);
    const [start, end] = entry.data_offsets.map((offset) => 8 + headerBytes + offset);
    tensors.set(name, new Float32Array(bytes.slice(start, end).buffer));
  }
  return tensors;
}

/** Returns a fixture's JSON; `path` is relative to test/fixtures. */
export function readFixtureJson<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(`../fixtures/${path}`, import.meta.url), "utf8")) as T;
}
