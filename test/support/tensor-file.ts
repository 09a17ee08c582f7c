/**
 * Reads a fixture's safetensors file whole, with no checks: fixtures are ours. (What halftone does with others' files is in src/checkpoint.)
 */
import { readFileSync } from "node:fs";

/** A tensor of a fixture: as float32 whatever it is stored as, and integers as a plain list too. */
export interface FixtureTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
  /** Token ids, masks, timesteps; empty for a float tensor. */
  readonly integers: number[];
}

/** Returns a fixture's tensors by name; `path` is relative to test/fixtures. Errors: Error for a dtype that fixtures do not use. */
export function readTensors(path: string): Map<string, FixtureTensor> {
  const bytes = new Uint8Array(readFileSync(new URL(`../fixtures/${path}`, import.meta.url)));
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes))) as Record<string, Entry>;
  const tensors = new Map<string, FixtureTensor>();
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [begin, end] = data_offsets.map((offset) => 8 + headerBytes + offset);
    tensors.set(name, { shape, ...numbers(bytes.slice(begin, end), dtype, `${path}: ${name}`) });
  }
  return tensors;
}

/** Returns a fixture's float32 tensors by name, flat. */
export function readFloatTensors(path: string): Map<string, Float32Array> {
  return new Map(Array.from(readTensors(path), ([name, { values }]) => [name, values]));
}

/** Returns a fixture's JSON; `path` is relative to test/fixtures. */
export function readFixtureJson<T>(path: string): T {
  return JSON.parse(readFileSync(new URL(`../fixtures/${path}`, import.meta.url), "utf8")) as T;
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

function numbers(bytes: Uint8Array<ArrayBuffer>, dtype: string, what: string): Omit<FixtureTensor, "shape"> {
  if (dtype === "F32") return { values: new Float32Array(bytes.buffer), integers: [] };
  if (dtype === "U8") return { values: Float32Array.from(bytes), integers: Array.from(bytes) };
  if (dtype !== "I64" && dtype !== "I32") throw new Error(`${what} is ${dtype}, expected F32, I64, I32 or U8`);
  const integers = dtype === "I64" ? Array.from(new BigInt64Array(bytes.buffer), Number) : Array.from(new Int32Array(bytes.buffer));
  return { values: Float32Array.from(integers), integers };
}
