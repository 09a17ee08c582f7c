/** Casts against torch (reference/convert.py): every code of the 8- and 16-bit floats decoded, every value, tie and neighbour encoded. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { alignBytes, type FloatDType, fromFloat32, roundToDType, toFloat32 } from "./convert.ts";
import type { DType } from "./dtype.ts";

const FIXTURE = new URL("../../test/fixtures/convert/", import.meta.url);
const { sha256 } = JSON.parse(readFileSync(new URL("casts.json", FIXTURE), "utf8"));
const fixture = readFixture();
const FLOAT8 = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"] as const;
const HALVES = ["float16", "bfloat16"] as const;

/** The fixture's tensors as bytes; the test of the tensor room must not lean on the checkpoint room. */
function readFixture(): (name: string) => Uint8Array {
  const file = readFileSync(new URL("casts.safetensors", FIXTURE));
  const dataStart = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, dataStart));
  return (name) => {
    const [begin, end] = header[name].data_offsets;
    return new Uint8Array(file.subarray(dataStart + begin, dataStart + end));
  };
}

function digest(array: ArrayBufferView): string {
  return createHash("sha256")
    .update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
    .digest("hex");
}

function patterns(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

function isNaNPattern(pattern: number): boolean {
  return (pattern & 0x7fffffff) > 0x7f800000;
}

describe("decoding", () => {
  it.each(FLOAT8)("all 256 codes of %s", (dtype) => {
    const got = toFloat32(
      Uint8Array.from({ length: 256 }, (_, code) => code),
      dtype,
    );
    expect(Array.from(got)).toEqual(Array.from(toFloat32(fixture(`decoded.${dtype}`), "float32")));
  });

  it.each(HALVES)("all 65,536 codes of %s", (dtype) => {
    const bits = patterns(toFloat32(new Uint8Array(Uint16Array.from({ length: 65536 }, (_, code) => code).buffer), dtype));
    expect(bits.filter(isNaNPattern)).toHaveLength(sha256[dtype].nans);
    expect(digest(bits.map((pattern) => (isNaNPattern(pattern) ? 0 : pattern)))).toBe(sha256[dtype].decoded);
  });

  it.each(["int64", "uint64", "float64"] as const)("%s is rounded once", (dtype) => {
    expect(Array.from(toFloat32(fixture(dtype), dtype))).toEqual(Array.from(toFloat32(fixture(`${dtype}.float32`), "float32")));
  });

  it.each<[DType, ArrayBufferView, number[]]>([
    ["int32", Int32Array.of(-(2 ** 31), 2 ** 24 + 1), [-(2 ** 31), 2 ** 24]],
    ["uint32", Uint32Array.of(2 ** 32 - 1), [2 ** 32]],
    ["int16", Int16Array.of(-32768, 32767), [-32768, 32767]],
    ["uint16", Uint16Array.of(65535), [65535]],
    ["int8", Int8Array.of(-128, 127), [-128, 127]],
    ["uint8", Uint8Array.of(255), [255]],
    ["bool", Uint8Array.of(0, 1, 2), [0, 1, 1]],
  ])("%s", (dtype, array, want) => {
    expect(Array.from(toFloat32(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), dtype))).toEqual(want);
  });

  it("reads bytes at any offset", () => {
    const shifted = new Uint8Array(9);
    shifted.set(new Uint8Array(Float32Array.of(1.5, -2).buffer), 1);
    expect(Array.from(toFloat32(shifted.subarray(1), "float32"))).toEqual([1.5, -2]);
    expect(Array.from(toFloat32(fromFloat32(Float32Array.of(1.5, -2), "float64"), "float64"))).toEqual([1.5, -2]);
  });

  it("does not copy aligned float32", () => {
    const bytes = new Uint8Array(8);
    expect(toFloat32(bytes, "float32").buffer).toBe(bytes.buffer);
    expect(alignBytes(bytes, 8)).toBe(bytes);
  });
});

describe("encoding", () => {
  const points = toFloat32(fixture("points"), "float32");

  it.each<FloatDType>([...FLOAT8, "float16"])("%s at values, ties, edges, random patterns and NaN", (dtype) => {
    const got = fromFloat32(points, dtype);
    const want = fixture(`points.${dtype}`);
    const wrong = got.findIndex((byte, i) => byte !== want[i]);
    const i = Math.floor(wrong / (got.length / points.length));
    expect(wrong, `float32 ${points[i]} (0x${patterns(points)[i]?.toString(16)}): got ${got[wrong]}, want ${want[wrong]}`).toBe(-1);
  });

  it.each(HALVES)("%s at every value, tie and neighbour", (dtype) => {
    const inputs = neighbours(dtype);
    expect(inputs).toHaveLength(sha256[dtype].count);
    expect(digest(inputs)).toBe(sha256[dtype].inputs);
    expect(digest(fromFloat32(inputs, dtype))).toBe(sha256[dtype].encoded);
  });

  it("bfloat16 at values, ties, edges and random patterns; NaN stays NaN with its sign", () => {
    const got = new Uint16Array(fromFloat32(points, "bfloat16").buffer);
    const want = new Uint16Array(fixture("points.bfloat16").buffer);
    const wrong = got.findIndex((code, i) => (Number.isNaN(points[i]) ? (code & 0x7fff) !== 0x7fc0 : code !== want[i]));
    expect(wrong).toBe(-1);
    expect(new Uint16Array(fromFloat32(new Float32Array(Uint32Array.of(0xffc00000, 0x7f800001).buffer), "bfloat16").buffer)).toEqual(
      Uint16Array.of(0xffc0, 0x7fc0),
    );
  });

  it("saturates e4m3fn and makes infinity or NaN elsewhere, as torch 2.13 does", () => {
    const far = Float32Array.of(1e9, -Infinity);
    expect(FLOAT8.map((dtype) => Array.from(toFloat32(fromFloat32(far, dtype), dtype)))).toEqual([
      [448, -448],
      [Number.NaN, Number.NaN],
      [Infinity, -Infinity],
      [Number.NaN, Number.NaN],
    ]);
  });

  it.each<FloatDType>([...FLOAT8, ...HALVES])("%s: every finite code survives the way there and back", (dtype) => {
    const codes = dtype.startsWith("float8")
      ? Uint8Array.from({ length: 256 }, (_, code) => code)
      : new Uint8Array(Uint16Array.from({ length: 65536 }, (_, code) => code).buffer);
    const values = toFloat32(codes, dtype);
    const again = toFloat32(fromFloat32(values, dtype), dtype);
    expect(values.findIndex((value, i) => !Object.is(value, again[i]))).toBe(-1);
  });

  it("rounds in place, and leaves float32 and float64 alone", () => {
    const values = Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, 70000, -1e-9);
    expect(Array.from(roundToDType(values.slice(), "float16"))).toEqual([1, 1 + 2 ** -9, Infinity, -0]);
    expect(Array.from(roundToDType(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8), "bfloat16"))).toEqual([1, 1 + 2 ** -6]);
    expect(roundToDType(values, "float32")).toBe(values);
    expect(Array.from(fromFloat32(values, "float32"))).toEqual(Array.from(new Uint8Array(values.buffer)));
  });
});

/** As in reference/convert.py: all finite values, the middles between neighbours, then one ulp above and one below each. */
function neighbours(dtype: "float16" | "bfloat16"): Float32Array {
  const all = toFloat32(new Uint8Array(Uint16Array.from({ length: 65536 }, (_, code) => code).buffer), dtype);
  const values = [...new Set(Array.from(all).filter(Number.isFinite))].sort((a, b) => a - b);
  const middles = values.slice(1).map((value, i) => (value + (values[i] as number)) / 2);
  const points = Float32Array.from([...values, ...middles]);
  return Float32Array.from([...points, ...points.map((x) => stepped(x, 1)), ...points.map((x) => stepped(x, -1))]);
}

function stepped(x: number, direction: 1 | -1): number {
  if (x === 0) return direction * 2 ** -149;
  const bits = patterns(Float32Array.of(x));
  bits[0] = (bits[0] as number) + (x > 0 ? direction : -direction);
  return new Float32Array(bits.buffer)[0] as number;
}
