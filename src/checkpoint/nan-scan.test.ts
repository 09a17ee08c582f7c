import { describe, expect, it } from "vitest";
import { type FloatDType, fromFloat32 } from "../tensor/convert.ts";
import type { DType } from "../tensor/dtype.ts";
import { memorySource } from "./memory-source.ts";
import { findNonFinite } from "./nan-scan.ts";
import { readSafetensors } from "./safetensors.ts";
import { encodeSafetensors } from "./safetensors-layout.ts";
import type { StoredTensor } from "./stored-tensor.ts";

async function stored(name: string, dtype: DType, bytes: Uint8Array, count: number): Promise<StoredTensor> {
  const file = encodeSafetensors([{ name, dtype, shape: [count], bytes }]);
  return (await readSafetensors(memorySource("x", file))).tensors.get(name) as StoredTensor;
}

const FLOATS: FloatDType[] = [
  "float64",
  "float32",
  "float16",
  "bfloat16",
  "float8_e5m2",
  "float8_e4m3fn",
  "float8_e4m3fnuz",
  "float8_e5m2fnuz",
];

describe("findNonFinite", () => {
  it.each(FLOATS)("finds a NaN of %s in whatever piece it lies", async (dtype) => {
    for (const index of [0, 7, 8, 63, 64, 99]) {
      const values = Float32Array.from({ length: 100 }, (_, i) => (i % 2 ? -1 : 1) * (i + 0.5));
      values[index] = Number.NaN;
      const tensor = await stored("a", dtype, fromFloat32(values, dtype), 100);
      expect(await findNonFinite([tensor], { chunkBytes: 64 })).toEqual({ tensor, index, kind: "NaN" });
    }
  });

  it.each(FLOATS)("finds nothing in the largest, smallest and ordinary numbers of %s", async (dtype) => {
    const largest: Partial<Record<FloatDType, number>> = {
      float16: 65504,
      float8_e5m2: 57344,
      float8_e4m3fn: 448,
      float8_e4m3fnuz: 240,
      float8_e5m2fnuz: 57344,
    };
    const most = largest[dtype] ?? 3e38;
    const bytes = fromFloat32(Float32Array.of(0, -0, most, -most, 1e-7, -1e-7, 1, -1), dtype);
    expect(await findNonFinite([await stored("a", dtype, bytes, 8)])).toBeUndefined();
  });

  it.each(["float64", "float32", "float16", "bfloat16", "float8_e5m2"] as const)("tells infinity of %s from NaN", async (dtype) => {
    for (const infinity of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const tensor = await stored("a", dtype, fromFloat32(Float32Array.of(1, infinity), dtype), 2);
      expect(await findNonFinite([tensor])).toEqual({ tensor, index: 1, kind: "infinity" });
    }
  });

  it("tells a float64 NaN whose upper half looks like infinity", async () => {
    const tensor = await stored("a", "float64", new Uint8Array(BigUint64Array.of(0x7ff0000000000001n).buffer), 1);
    expect(await findNonFinite([tensor])).toMatchObject({ kind: "NaN" });
  });

  it("names the first of several tensors and passes over integers", async () => {
    const integers = await stored("i", "uint8", new Uint8Array(64).fill(255), 64);
    const empty = await stored("e", "float32", new Uint8Array(0), 0);
    const sound = await stored("s", "float16", new Uint8Array(8), 4);
    const bad = await stored("b", "float16", fromFloat32(Float32Array.of(1, 1, Number.NaN), "float16"), 3);
    expect(await findNonFinite([integers, empty, sound, bad, bad])).toEqual({ tensor: bad, index: 2, kind: "NaN" });
  });

  it("stops when it is told to", async () => {
    const tensor = await stored("a", "float32", new Uint8Array(8), 2);
    await expect(findNonFinite([tensor], { signal: AbortSignal.abort() })).rejects.toThrow("reading was cancelled");
  });
});
