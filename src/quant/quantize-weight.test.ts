/** What holds for any weight: blocks make up the whole, errors stay within half a step; and what is refused, in words. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { fromFloat32, roundToDType, toFloat32 } from "../tensor/convert.ts";
import { COMPUTE_DTYPES, elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { dequantizeWeight } from "./dequantize-weight.ts";
import { QTYPES, qfloat8, qfloat8_e4m3fnuz, qint2, qint4, qint8 } from "./qtype.ts";
import { allocateWeight, placeBlock, quantizeBlock, quantizeWeight } from "./quantize-weight.ts";
import { layOutWeight, splitWeight, type WeightSpec } from "./weight-layout.ts";

/** Rows of every kind of grouping; multiples of 16 rows, for the bfloat16 4-bit kernel. */
const shapes = fc.oneof(
  fc.tuple(fc.constantFrom(16, 32), fc.constantFrom(1, 31, 96, 128, 160, 192, 256, 384)),
  fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }), fc.constantFrom(1, 2, 3), fc.constantFrom(1, 2, 3)),
);

const weights = fc
  .record({
    shape: shapes,
    dtype: fc.constantFrom(...COMPUTE_DTYPES),
    stored: fc.constantFrom(...COMPUTE_DTYPES),
    qtype: fc.constantFrom(...QTYPES),
    seed: fc.integer(),
    spread: fc.constantFrom(1e-7, 0.02, 1, 300),
  })
  .map(({ seed, spread, stored, ...spec }) => ({
    spec: { ...spec, name: "w" },
    stored,
    values: randomValues(elementCount(spec.shape), seed, spread),
  }));

/** Sums of three uniform numbers, from a small generator. */
function randomValues(count: number, seed: number, spread: number): Float32Array {
  let state = seed >>> 0;
  const uniform = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  return Float32Array.from({ length: count }, () => (uniform() + uniform() + uniform()) * spread);
}

/** Reads blocks as a file would be read, run by run, in reverse order. */
function quantizeInBlocks(bytes: Uint8Array, spec: WeightSpec, stored: (typeof COMPUTE_DTYPES)[number], weightsPerBlock: number) {
  const layout = layOutWeight(spec);
  const groupBytes = layout.groupLength * elementSizeBytes(stored);
  const blocks = [...splitWeight(layout, weightsPerBlock)].reverse();
  let whole: ReturnType<typeof allocateWeight> | undefined;
  for (const block of blocks) {
    const runs = block.runs.map(({ firstGroup, groups }) => bytes.subarray(firstGroup * groupBytes, (firstGroup + groups) * groupBytes));
    const part = quantizeBlock(layout, block, Uint8Array.from(runs.flatMap((run) => [...run])), stored);
    whole ??= allocateWeight(layout, part);
    placeBlock(layout, block, part, whole);
  }
  return { blocks: blocks.length, whole };
}

describe("any weight", () => {
  test("blocks make up the whole, in any order, whatever the stored dtype", () => {
    const cut = fc.record({ weight: weights, weightsPerBlock: fc.integer({ min: 1, max: 3000 }) });
    let several = 0;
    fc.assert(
      fc.property(cut, ({ weight: { spec, stored, values }, weightsPerBlock }) => {
        const bytes = fromFloat32(values, stored);
        const { blocks, whole } = quantizeInBlocks(bytes, spec, stored, weightsPerBlock);
        if (blocks > 1) several += 1;
        expect(whole).toEqual(quantizeWeight(bytes, spec, stored));
        expect(whole).toEqual(quantizeWeight(roundToDType(toFloat32(bytes, stored).slice(), spec.dtype), spec));
      }),
      { numRuns: 300, seed: 1 },
    );
    expect(several).toBeGreaterThan(100);
  });

  test("an integer code is never more than half a step off", () => {
    fc.assert(
      fc.property(weights, ({ spec: { qtype, ...spec }, values }) => {
        for (const wanted of qtype.kind === "int" ? [qtype] : [qint8]) {
          const exact = { ...spec, qtype: wanted, dtype: "float32" as const };
          const layout = layOutWeight(exact);
          const weight = quantizeWeight(values, exact);
          const scales = toFloat32(weight.scale.bytes, "float32");
          const got = dequantizeWeight(layout, weight);
          const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          const excess = got.map((value, i) => {
            const step = scales[layout.perColumn ? i % scales.length : Math.floor(i / layout.groupLength)] as number;
            return Math.abs(value - (values[i] as number)) - step / 2;
          });
          expect(Math.max(...excess)).toBeLessThanOrEqual(largest * 2 ** -22);
        }
      }),
      { numRuns: 300, seed: 2 },
    );
  });
});

test("a row longer than what is worked on at a time", () => {
  const [rows, length] = [3, 40_001];
  const values = randomValues(rows * length, 7, 0.1);
  for (const qtype of [qint8, qint4]) {
    const spec = { name: "w", shape: [rows, length], dtype: "float32", qtype } as const;
    const weight = quantizeWeight(values, spec);
    const scales = toFloat32(weight.scale.bytes, "float32");
    const got = dequantizeWeight(layOutWeight(spec), weight);
    for (let row = 0; row < rows; row++) {
      const own = values.subarray(row * length, (row + 1) * length);
      const [min, max] = [own.reduce((a, b) => Math.min(a, b)), own.reduce((a, b) => Math.max(a, b))];
      expect(scales[row]).toBe(qtype.bits === 8 ? Math.fround(Math.max(-min, max) / 127) : Math.fround(Math.fround(max - min) / 15));
      const worst = own.reduce((most, value, i) => Math.max(most, Math.abs(value - (got[row * length + i] as number))), 0);
      expect(worst).toBeLessThanOrEqual((scales[row] as number) * 0.50001);
    }
  }
});

test("a row of zeros: NaN in float8 as in Quanto, zeros where they are asked for", () => {
  const values = Float32Array.of(0, -0, 1, 2);
  for (const qtype of [qfloat8, qfloat8_e4m3fnuz]) {
    const spec = { name: "w", shape: [2, 2], dtype: "float32", qtype } as const;
    const weight = quantizeWeight(values, spec);
    expect(Array.from(dequantizeWeight(layOutWeight(spec), weight)).slice(0, 2)).toEqual([Number.NaN, Number.NaN]);
    expect(Array.from(dequantizeWeight(layOutWeight(spec), weight, { zeroRows: true })).slice(0, 2)).toEqual([0, 0]);
  }
});

describe("refused", () => {
  const spec = (more: Partial<WeightSpec>): WeightSpec => ({
    name: "block.to_q.weight",
    shape: [2, 4],
    dtype: "float16",
    qtype: qint8,
    ...more,
  });
  const ones = (place: number, value: number, shape = [2, 4]) =>
    new Float32Array(elementCount(shape)).fill(1).fill(value, place, place + 1);

  test.each([
    [qint8, [2, 4], 6, Number.NaN, "NaN at [1, 2]"],
    [qint4, [2, 4], 0, Infinity, "Infinity at [0, 0]"],
    [qint2, [9, 3, 2, 2], 107, -Infinity, "-Infinity at [8, 2, 1, 1]"],
    [qfloat8, [600, 50], 29_999, Number.NaN, "NaN at [599, 49]"],
    [qint4, [300, 256], 70_000, Number.NaN, "NaN at [273, 112]"],
    [qint4, [1, 6], 5, Number.NaN, "NaN at [0, 5]"],
  ])("a number that is not finite: %#", async (qtype, shape, place, value, text) => {
    expect(await caught(() => quantizeWeight(ones(place, value, shape), spec({ qtype, shape, dtype: "float32" })))).toEqual({
      kind: "CheckpointError",
      message: `weight "block.to_q.weight" holds ${text}, expected finite numbers to quantize`,
      hint: "the file may be damaged: get it again, or exclude the module",
    });
  });

  test("a number beyond the dtype", async () => {
    expect(await caught(() => quantizeWeight(ones(5, 70_000), spec({})))).toEqual({
      kind: "CheckpointError",
      message: 'weight "block.to_q.weight" holds 70000 at [1, 1], which float16 cannot hold, expected finite numbers to quantize',
      hint: "load the model in float32 or bfloat16, or exclude the module",
    });
  });

  test.each<[Partial<WeightSpec>, object]>([
    [
      { optimizer: "hqq" },
      {
        kind: "UsageError",
        message: 'optimizer for qint8 must be absmax, got "hqq"',
        hint: "absmax is for 8-bit qtypes, max and hqq are for qint4 and qint2",
      },
    ],
    [
      { optimizer: "absmax", qtype: qint4 },
      {
        kind: "UsageError",
        message: 'optimizer for qint4 must be max or hqq, got "absmax"',
        hint: "absmax is for 8-bit qtypes, max and hqq are for qint4 and qint2",
      },
    ],
    [
      { optimizer: "hqqq" as "hqq", qtype: qint4 },
      { kind: "UsageError", message: 'optimizer must be one of absmax, max, hqq, got "hqqq"', hint: "did you mean hqq?" },
    ],
    [
      { shape: [8] },
      {
        kind: "UnsupportedError",
        message: 'weight "block.to_q.weight" has shape [8], expected two or more axes with elements to quantize',
      },
    ],
    [
      { shape: [1, 40], qtype: qint2, optimizer: "hqq" },
      {
        kind: "UnsupportedError",
        message: 'weight "block.to_q.weight" of shape [1, 40] has a single row, which hqq cannot quantize',
        hint: "exclude its module, or use the optimizer max",
      },
    ],
    [
      { shape: [24, 256], qtype: qint4, dtype: "bfloat16" },
      {
        kind: "UnsupportedError",
        message:
          'weight "block.to_q.weight" has 24 rows, but bfloat16 qint4 in groups of 128 needs a multiple of 16 to be loaded by Quanto on a CPU',
        hint: "exclude its module, or use another dtype or qtype for it",
      },
    ],
  ])("%o", async (more, error) => {
    expect(await caught(() => layOutWeight(spec(more)))).toEqual(error);
  });
});
