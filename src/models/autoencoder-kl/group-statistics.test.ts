import { describe, expect, it } from "vitest";
import { GroupStatistics } from "./group-statistics.ts";

/** Mean and variance of a list, by the definition, in float64. */
function twoPass(values: readonly number[]): { mean: number; variance: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length };
}

describe("GroupStatistics", () => {
  it("knows the groups of a picture that came in strips of unequal rows", () => {
    const [channels, width, groups] = [6, 5, 3];
    const value = (c: number, row: number, x: number) => Math.fround(Math.sin(c * 100 + row * 10 + x) + c);
    const statistics = new GroupStatistics(channels, groups);
    for (const [from, to] of [
      [0, 3],
      [3, 4],
      [4, 9],
    ] as const) {
      const rows = to - from;
      statistics.add(
        Float32Array.from({ length: channels * rows * width }, (_, i) =>
          value(Math.floor(i / (rows * width)), from + (Math.floor(i / width) % rows), i % width),
        ),
      );
    }
    const { mean, variance } = statistics.perChannel();
    for (let channel = 0; channel < channels; channel++) {
      const group = Math.floor(channel / 2);
      const all = [2 * group, 2 * group + 1].flatMap((c) =>
        Array.from({ length: 9 * width }, (_, i) => value(c, Math.floor(i / width), i % width)),
      );
      expect(mean[channel]).toBeCloseTo(twoPass(all).mean, 6);
      expect(variance[channel]).toBeCloseTo(twoPass(all).variance, 6);
    }
  });

  it("keeps a small variance beside a large mean", () => {
    const values = Float32Array.from({ length: 40_001 }, (_, i) => 1e5 + (i % 3) / 64);
    const statistics = new GroupStatistics(1, 1);
    statistics.add(values.subarray(0, 17));
    statistics.add(values.subarray(17));
    const { variance } = statistics.perChannel();
    const want = twoPass(Array.from(values)).variance;
    expect(Math.abs((variance[0] as number) - want) / want).toBeLessThan(1e-6);
  });

  it("says not a number of a group that holds one, and of no other", () => {
    const statistics = new GroupStatistics(2, 2);
    statistics.add(Float32Array.of(1, 2, 3, Number.NaN));
    const { mean, variance } = statistics.perChannel();
    expect(Array.from(mean)).toEqual([1.5, Number.NaN]);
    expect(Array.from(variance)).toEqual([0.25, Number.NaN]);
  });
});
