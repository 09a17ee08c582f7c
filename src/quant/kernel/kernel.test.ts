/** The compiled loops against plain JavaScript: every conversion by all codes or by patterns, and whole weights by the formulas of the paper. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FLOAT8, fromFloat32, roundToDType, toFloat32 } from "../../tensor/convert.ts";
import { COMPUTE_DTYPES, type ComputeDType } from "../../tensor/dtype.ts";
import { elementCount } from "../../tensor/tensor.ts";
import { packedRows } from "../pack.ts";
import { QTYPES, type QType } from "../qtype.ts";
import { affineParameters, centredShift } from "../quantize-affine.ts";
import { quantizeWeight } from "../quantize-weight.ts";
import { roundTo } from "../rounding.ts";
import { layOutWeight, type WeightLayout } from "../weight-layout.ts";
import { smallestZero } from "../zero-sign.ts";
import { DTYPE_NUMBER, kernelFor } from "./kernel.ts";

test("the module was compiled from assembly.ts as it is", () => {
  const [source, module] = ["assembly.ts", "kernel-wasm.ts"].map((name) => readFileSync(new URL(name, import.meta.url)));
  expect(`${module}`).toContain(createHash("sha256").update(`${source}`).digest("hex"));
});

/** float32 patterns: each upper half with lower halves around the ties of all narrower dtypes, and some others. */
const PATTERNS = Uint32Array.from({ length: 65536 * 12 }, (_, i) => {
  const lower = [0, 1, 0xfff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x7fff, 0x8000, 0x8001, 0xefff, 0xffff][i % 12] as number;
  return Math.floor(i / 12) * 65536 + lower;
});
const NUMBERS = new Float32Array(PATTERNS.buffer);

/** The numbers' patterns, every NaN the same. */
function patterns(values: Float32Array): Uint32Array {
  return new Uint32Array(values.map((value) => (Number.isNaN(value) ? Number.NaN : value)).buffer);
}

/** As toEqual, which takes long for many numbers. */
function expectSame(got: Uint8Array | Uint32Array, want: Uint8Array | Uint32Array): void {
  const at = got.findIndex((value, i) => value !== want[i]);
  expect({ length: got.length, at, got: got[at], want: want[at] }).toEqual({ length: want.length, at: -1 });
}

/** Calls `visit` with so many numbers at a time. */
function byPiece(visit: (piece: Float32Array) => void): void {
  for (let first = 0; first < NUMBERS.length; first += 65536) visit(NUMBERS.slice(first, first + 65536));
}

describe("conversions", () => {
  test.each(["float16", "bfloat16"] as const)("every %s is widened", (dtype) => {
    const codes = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, code) => code).buffer);
    const kernel = kernelFor(65536, 1);
    kernel.stored.set(codes);
    if (dtype === "float16") kernel.widenFloat16(65536);
    else kernel.widenBfloat16(65536);
    expectSame(patterns(kernel.values.slice(0, 65536)), patterns(toFloat32(codes, dtype)));
  });

  test.each(COMPUTE_DTYPES)("float32 is rounded to %s", (dtype) => {
    byPiece((piece) => {
      const kernel = kernelFor(piece.length, 1);
      kernel.values.set(piece);
      kernel.roundValues(piece.length, DTYPE_NUMBER[dtype]);
      expectSame(patterns(kernel.values.slice(0, piece.length)), patterns(roundToDType(piece, dtype)));
    });
  });

  test.each(QTYPES.filter(({ kind }) => kind === "float"))("float32 is encoded as $name", ({ storedDType, qmin, qmax }) => {
    const dtype = storedDType as keyof typeof FLOAT8;
    const { mantissaBits, bias, nanCode, unsigned } = FLOAT8[dtype];
    const nan = nanCode | 0x80;
    byPiece((piece) => {
      const kernel = kernelFor(piece.length, 1);
      kernel.values.set(piece);
      kernel.scales[0] = 1;
      kernel.encodeFloat8(1, piece.length, DTYPE_NUMBER.float32, mantissaBits, bias, qmax, nan, unsigned ? 0 : -1);
      const clamped = piece.map((value) => Math.min(Math.max(value, qmin), qmax));
      const want = fromFloat32(clamped, dtype).map((code, i) => (Number.isNaN(clamped[i]) ? nan : code));
      expectSame(kernel.codes.subarray(0, piece.length), want);
    });
  });
});

/** Numbers that lie where something can go wrong, scaled to be large, small or subnormal. */
const numbers = fc.oneof(
  fc.float({ noNaN: true, noDefaultInfinity: true, min: -60000, max: 60000 }),
  fc.integer({ min: -255, max: 255 }).map((halves) => halves / 2),
  fc.integer({ min: -2048, max: 2048 }).map((steps) => steps * 2 ** -25),
  fc.constantFrom(0, -0, 0, -0, 65504, -65504, 2 ** -14, 2 ** -24, -(2 ** -24), 1e-30, -1e-45, 127.5, 0.1),
);

const weights = fc
  .record({
    shape: fc.oneof(
      fc.tuple(fc.integer({ min: 1, max: 19 }), fc.integer({ min: 1, max: 70 })),
      fc.tuple(fc.constantFrom(16, 48), fc.constantFrom(160, 192, 256)),
      fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 5 }), fc.constantFrom(1, 3), fc.constantFrom(1, 3)),
    ),
    dtype: fc.constantFrom(...COMPUTE_DTYPES),
    stored: fc.constantFrom(...COMPUTE_DTYPES),
    qtype: fc.constantFrom(...QTYPES),
    some: fc.array(numbers, { minLength: 1, maxLength: 60 }),
    power: fc.constantFrom(0, 0, -10, -20),
    seed: fc.nat(),
  })
  .map(({ shape, some, power, seed, ...rest }) => {
    // Groups unlike each other, of a few numbers that come again and again.
    const pick = (i: number) => some[(Math.imul(i + seed, 0x9e3779b1) >>> 7) % some.length] as number;
    return { ...rest, shape, values: Float32Array.from({ length: elementCount(shape) }, (_, i) => pick(i) * 2 ** power) };
  });

test("whole weights by the formulas, number by number", () => {
  fc.assert(
    fc.property(weights, ({ values, stored, ...spec }) => {
      const layout = layOutWeight({ name: "w", ...spec });
      fc.pre(!layout.perColumn);
      const bytes = fromFloat32(values, stored);
      const inDType = roundToDType(toFloat32(bytes, stored).slice(), spec.dtype);
      fc.pre(inDType.every(Number.isFinite));
      const got = quantizeWeight(bytes, layout, stored);
      const want = byFormula(layout, inDType);
      expectSame(got.data.bytes, want.data);
      expectSame(got.scale.bytes, fromFloat32(want.scale, spec.dtype));
      expect(got.shift === undefined).toBe(want.shift === undefined);
      if (got.shift && want.shift) expectSame(got.shift.bytes, fromFloat32(want.shift, spec.dtype));
    }),
    { numRuns: 1500, seed: 1 },
  );
});

function byFormula(layout: WeightLayout, values: Float32Array) {
  const { groups, groupLength, qtype, dtype, centred } = layout;
  const scale = new Float32Array(groups);
  const shift = new Float32Array(groups);
  const codes = new Uint8Array(values.length);
  for (let group = 0; group < groups; group++) {
    const own = values.subarray(group * groupLength, (group + 1) * groupLength);
    const encoded = qtype.bits === 8 ? symmetric(own, qtype, dtype) : affine(own, qtype, dtype);
    codes.set(encoded.codes, group * groupLength);
    scale[group] = encoded.scale;
    shift[group] = centred ? centredShift(encoded) : encoded.shift;
  }
  return qtype.bits === 8
    ? { data: codes, scale, shift: undefined }
    : { data: packed(codes, groups, groupLength, qtype.bits), scale, shift };
}

function symmetric(values: Float32Array, qtype: QType, dtype: ComputeDType) {
  const scale = roundTo(values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / qtype.qmax, dtype);
  const quotients = values.map((value) => roundTo(value / scale, dtype));
  if (qtype.kind === "int") return { scale, shift: 0, codes: Uint8Array.from(quotients, (q) => integer(q, qtype.qmin, qtype.qmax)) };
  const clamped = quotients.map((q) => Math.min(Math.max(q, qtype.qmin), qtype.qmax));
  const nan = qtype.storedDType === "float8_e4m3fnuz" ? 0x80 : 0xff;
  const codes = fromFloat32(clamped, qtype.storedDType as keyof typeof FLOAT8);
  return { scale, shift: 0, codes: codes.map((code, i) => (Number.isNaN(clamped[i]) ? nan : code)) };
}

function affine(values: Float32Array, qtype: QType, dtype: ComputeDType) {
  const [min, max] = [Math.min(...values), Math.max(...values)];
  const { scale, shift } = affineParameters(min === 0 ? smallestZero(values, 0, values.length, dtype) : min, max, qtype, dtype);
  const most = 2 ** qtype.bits - 1;
  const codes = Uint8Array.from(values, (value) => integer(roundTo(roundTo(value + shift, dtype) / scale, dtype), 0, most));
  return { scale, shift, codes };
}

/** The nearest integer, ties to even, clamped; 0 for NaN. */
function integer(value: number, least: number, most: number): number {
  if (Number.isNaN(value)) return 0;
  const down = Math.floor(value);
  const rest = value - down;
  const rounded = rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
  return Math.min(Math.max(rounded, least), most);
}

function packed(codes: Uint8Array, rows: number, rowLength: number, bits: 8 | 4 | 2): Uint8Array {
  const bytes = new Uint8Array(packedRows(rows, bits) * rowLength);
  codes.forEach((code, i) => {
    bytes[i % bytes.length] = (bytes[i % bytes.length] as number) | (code << (bits * Math.floor(i / bytes.length)));
  });
  return bytes;
}
