/**
 * Noise against torch's CPU generator (reference/noise.py): not within 4 ulp but bit for bit, for every seed, shape, dtype and order of draws.
 */
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { TorchGenerator } from "../../src/random/torch-generator.ts";
import type { ComputeDType } from "../../src/tensor/dtype.ts";
import { readFixtureJson, readFloatTensors } from "../support/tensor-file.ts";

interface Draw {
  shape: number[];
  dtype: ComputeDType;
  sha256: string;
  stride: number;
  kept: number;
}

const { cases } = readFixtureJson<{ cases: { name: string; seed: string; draws: Draw[] }[] }>("noise/noise.json");
const values = readFloatTensors("noise/noise.safetensors").get("values") as Float32Array;

describe("torch.randn on the CPU", () => {
  let offset = 0;
  for (const { name, seed, draws } of cases) {
    const start = offset;
    offset += draws.reduce((sum, draw) => sum + draw.kept, 0);
    test(name, () => {
      const generator = new TorchGenerator(BigInt(seed));
      let position = start;
      for (const [index, draw] of draws.entries()) {
        const noise = generator.randn(draw.shape, draw.dtype);
        expect(noise.shape).toEqual(draw.shape);
        const kept = noise.data.filter((_, i) => i % draw.stride === 0);
        const want = values.subarray(position, position + draw.kept);
        expect(worstDifference(kept, want), `draw ${index}: worst of the kept values`).toBeUndefined();
        expect(sha256(noise.data), `draw ${index}: all values`).toBe(draw.sha256);
        position += draw.kept;
      }
    });
  }

  test("the fixture is used up", () => {
    expect(cases.length).toBeGreaterThan(200);
    expect(offset).toBe(values.length);
  });
});

/** The place where two arrays are most units in the last place apart, or undefined if they are the same bits. */
function worstDifference(got: Float32Array, want: Float32Array): { index: number; got?: number; want?: number; ulp: number } | undefined {
  if (got.length !== want.length) return { index: Math.min(got.length, want.length), ulp: Number.POSITIVE_INFINITY };
  const [a, b] = [orderedBits(got), orderedBits(want)];
  let worst: { index: number; got?: number; want?: number; ulp: number } | undefined;
  for (let index = 0; index < a.length; index++) {
    const ulp = Math.abs((a[index] as number) - (b[index] as number));
    if (ulp > (worst?.ulp ?? 0)) worst = { index, got: got[index] as number, want: want[index] as number, ulp };
  }
  return worst;
}

/** Float bits as numbers that grow with the value, one per ulp; -0 is one below 0. */
function orderedBits(data: Float32Array): Float64Array {
  const bits = new Int32Array(data.slice().buffer);
  return Float64Array.from(bits, (word) => (word >= 0 ? word : -(word & 0x7fffffff) - 1));
}

function sha256(data: Float32Array): string {
  return createHash("sha256")
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest("hex");
}
