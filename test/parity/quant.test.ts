/**
 * Quantization against optimum-quanto (reference/quant.py): codes, packed bytes, scales and shifts byte for byte, except for hqq, where torch
 * itself differs by processor; and what the numbers stand for, by hash.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import { readSafetensors } from "../../src/checkpoint/safetensors.ts";
import { readTensor } from "../../src/checkpoint/stored-tensor.ts";
import { dequantizeWeight } from "../../src/quant/dequantize-weight.ts";
import { unpackCodes } from "../../src/quant/pack.ts";
import { findQType } from "../../src/quant/qtype.ts";
import { type QuantizedTensor, type QuantizedWeight, quantizeWeight } from "../../src/quant/quantize-weight.ts";
import { layOutWeight, type WeightSpec } from "../../src/quant/weight-layout.ts";
import { toFloat32 } from "../../src/tensor/convert.ts";
import { type ComputeDType, type DType, elementSizeBytes, isFloat } from "../../src/tensor/dtype.ts";
import { fixturePath } from "../support/fixture.ts";
import { readFixtureJson } from "../support/tensor-file.ts";

interface Made {
  keys: string;
  group: number | null;
  class: string;
  dequantized: string;
  refused?: string;
}

interface Case {
  name: string;
  dtype: ComputeDType;
  shape: number[];
  purpose: "tricky" | "plain" | "wide";
  qtypes: Record<string, Made>;
}

interface Tensor {
  dtype: DType;
  shape: readonly number[];
  bytes: Uint8Array;
}

const { cases } = readFixtureJson<{ cases: Case[] }>("quant/weights.json");
const tensors = await readTensors();
const jobs = cases.flatMap((one) => Object.entries(one.qtypes).map(([label, made]) => ({ one, label, made })));
const named = jobs.map((job) => [`${job.one.dtype} ${job.one.name} ${job.label}`, job] as const);

async function readTensors(): Promise<Map<string, Tensor>> {
  const bytes = new Uint8Array(readFileSync(fixturePath("quant/weights.safetensors")));
  const file = await readSafetensors(memorySource("weights.safetensors", bytes));
  const found = new Map<string, Tensor>();
  for (const stored of file.tensors.values()) {
    found.set(stored.name, { dtype: stored.dtype, shape: stored.shape, bytes: (await readTensor(stored)).slice() });
  }
  return found;
}

function tensor({ dtype, name }: Case, key: string): Tensor {
  const found = tensors.get(`${dtype}.${name}.${key}`);
  if (found === undefined) throw new Error(`the fixture has no ${dtype}.${name}.${key}`);
  return found;
}

function specOf(one: Case, label: string): WeightSpec {
  const [qtype, optimizer] = label.split("-") as [string, "hqq" | undefined];
  return { name: one.name, shape: one.shape, dtype: one.dtype, qtype: findQType(qtype), optimizer };
}

function quantize(one: Case, label: string): QuantizedWeight {
  return quantizeWeight(tensor(one, "weight").bytes, specOf(one, label), one.dtype);
}

const parts = (weight: QuantizedWeight) => [weight.data, weight.scale, weight.shift].filter((part) => part !== undefined);

/**
 * Bytes, but every NaN is the same in a scale or shift (its sign and payload depend on the processor) and in the float8 codes of a bfloat16
 * weight (where torch's own sign depends on the place in the row).
 */
function comparable({ dtype, bytes }: { dtype: DType; bytes: Uint8Array }, weightDType: ComputeDType): Uint8Array {
  if (!isFloat(dtype) || (elementSizeBytes(dtype) === 1 && weightDType !== "bfloat16")) return bytes;
  const values = toFloat32(bytes.slice(), dtype).map((value) => (Number.isNaN(value) ? Number.NaN : value));
  return new Uint8Array(values.buffer);
}

function expectEqual(got: QuantizedTensor, one: Case, label: string): void {
  const want = tensor(one, `${label}.${got.key}`);
  expect({ key: got.key, dtype: got.dtype, shape: got.shape }).toEqual({ key: got.key, dtype: want.dtype, shape: want.shape });
  const [a, b] = [comparable(got, one.dtype), comparable(want, one.dtype)];
  const wrong = a.findIndex((byte, i) => byte !== b[i]);
  expect({ key: got.key, length: a.length, wrong, got: a[wrong], want: b[wrong] }).toEqual({ key: got.key, length: b.length, wrong: -1 });
}

describe("what a frozen module holds", () => {
  const exact = named.filter(([, { made, label }]) => made.refused === undefined && !label.endsWith("hqq"));

  test.each(exact)("%s", (_, { one, label, made }) => {
    const layout = layOutWeight(specOf(one, label));
    const weight = quantize(one, label);
    for (const part of parts(weight)) expectEqual(part, one, label);
    const keys = parts(weight).map(({ key }) => `weight.${key}`);
    expect(made.keys.split(" ").filter((key) => key.startsWith("weight."))).toEqual(keys);
    expect(layout.groupSize ?? null).toBe(made.group);
    expect(layout.centred).toBe(made.class === "TinyGemmWeightQBitsTensor");
    const values = dequantizeWeight(layout, weight).map((value) => (Number.isNaN(value) ? Number.NaN : value));
    expect(digest(values)).toBe(made.dequantized);
  });
});

describe("hqq", () => {
  const improved = named.filter(([, { made, label }]) => made.refused === undefined && label.endsWith("hqq"));

  test.each(improved)("%s", (_, { one, label, made }) => {
    const layout = layOutWeight(specOf(one, label));
    const weight = quantize(one, label);
    for (const part of parts(weight)) {
      const want = tensor(one, `${label}.${part.key}`);
      expect([part.key, part.dtype, part.shape]).toEqual([part.key, want.dtype, want.shape]);
    }
    expectEqual(weight.scale, one, label);
    const shift = weight.shift as QuantizedTensor;
    expect(
      worstUlp(toFloat32(shift.bytes, one.dtype), toFloat32(tensor(one, `${label}._shift`).bytes, one.dtype), one.dtype),
    ).toBeLessThanOrEqual(4);
    const { groups, groupLength, qtype } = layout;
    const unpacked = (bytes: Uint8Array) => unpackCodes(bytes, groups, groupLength, qtype.bits as 4 | 2);
    const [got, want] = [unpacked(weight.data.bytes), unpacked(tensor(one, `${label}._data._data`).bytes)];
    const wrong = got.filter((code, i) => code !== want[i]).length;
    expect(wrong / want.length).toBeLessThanOrEqual(0.001);
    expect(layout.groupSize ?? null).toBe(made.group);
  });
});

describe("what Quanto refuses is refused", () => {
  const refused = named.filter(([, { made }]) => made.refused !== undefined);

  test.each(refused)("%s", (_, { one, label, made }) => {
    const message = made.refused?.includes("int4pack") ? "needs a multiple of 16" : "has a single row, which hqq cannot quantize";
    expect(() => layOutWeight(specOf(one, label))).toThrow(message);
  });
});

function digest(values: Float32Array): string {
  return createHash("sha256").update(new Uint8Array(values.buffer)).digest("hex").slice(0, 16);
}

/** Distance in units of the dtype's last place, of the larger number. */
function worstUlp(got: Float32Array, want: Float32Array, dtype: ComputeDType): number {
  const bits = { float32: 23, float16: 10, bfloat16: 7 }[dtype];
  const ulps = Array.from(got, (value, i) => {
    const other = want[i] as number;
    const size = Math.max(Math.abs(value), Math.abs(other), 2 ** -100);
    return Math.abs(value - other) / 2 ** (Math.floor(Math.log2(size)) - bits);
  });
  return Math.max(...ulps);
}
