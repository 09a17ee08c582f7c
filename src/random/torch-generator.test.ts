import { describe, expect, test } from "vitest";
import { UsageError } from "../errors.ts";
import { TorchGenerator } from "./torch-generator.ts";

function failure(action: () => unknown): UsageError {
  try {
    action();
  } catch (error) {
    if (error instanceof UsageError) return error;
    throw error;
  }
  throw new Error("expected a UsageError");
}

describe("seeds", () => {
  test.each([
    [1.5, "seed is 1.5, expected a whole number from -2^63 to 2^64 - 1"],
    [Number.NaN, "seed is NaN, expected a whole number from -2^63 to 2^64 - 1"],
    [Number.POSITIVE_INFINITY, "seed is Infinity, expected a whole number from -2^63 to 2^64 - 1"],
    [2n ** 64n, "seed is 18446744073709551616, expected a whole number from -2^63 to 2^64 - 1"],
    [-(2n ** 63n) - 1n, "seed is -9223372036854775809, expected a whole number from -2^63 to 2^64 - 1"],
  ])("%s is refused", (seed, message) => {
    expect(failure(() => new TorchGenerator(seed)).message).toBe(message);
  });

  test("a number that is not exact is refused with a hint", () => {
    const error = failure(() => new TorchGenerator(2 ** 53));
    expect(error.message).toBe("seed is 9007199254740992, expected a whole number from -2^63 to 2^64 - 1");
    expect(error.hint).toBe("numbers beyond 2^53 are not exact: give a bigint, such as 9007199254740993n");
  });

  test("a value that is no number at all is refused", () => {
    const seed: unknown = "12";
    expect(failure(() => new TorchGenerator(seed as number)).message).toBe("seed is 12, expected a whole number from -2^63 to 2^64 - 1");
  });

  test("numbers and bigints mean the same, and only the low 32 bits count", () => {
    const noise = new TorchGenerator(5).randn([20]).data;
    for (const seed of [5n, 2n ** 32n + 5n, 5 - 2 ** 32, -(2n ** 63n) + 5n])
      expect(new TorchGenerator(seed).randn([20]).data).toEqual(noise);
    expect(new TorchGenerator(6).randn([20]).data).not.toEqual(noise);
  });
});

describe("shapes", () => {
  test.each([
    [[1, -4], "noise shape is [1, -4], expected integers of 0 or more"],
    [[2.5], "noise shape is [2.5], expected integers of 0 or more"],
    [[1, Number.NaN], "noise shape is [1, NaN], expected integers of 0 or more"],
    [[65536, 65536], "noise shape is [65536, 65536], 4294967296 values, expected at most 2147483648"],
  ])("[%s] is refused and draws nothing", (shape, message) => {
    const generator = new TorchGenerator(1);
    expect(failure(() => generator.randn(shape)).message).toBe(message);
    expect(generator.randn([4]).data).toEqual(new TorchGenerator(1).randn([4]).data);
  });

  test("the shape only groups the values of one draw", () => {
    expect(new TorchGenerator(3).randn([2, 3, 8]).data).toEqual(new TorchGenerator(3).randn([48]).data);
  });
});

test("generators of one seed do not share state", () => {
  const [a, b] = [new TorchGenerator(9), new TorchGenerator(9)];
  const first = a.randn([3]).data;
  a.randn([100], "bfloat16");
  expect(b.randn([3]).data).toEqual(first);
});

test("a million values have the moments of normal noise", () => {
  const { data } = new TorchGenerator(123).randn([1_000_000]);
  const moment = (power: number) => data.reduce((sum, value) => sum + value ** power, 0) / data.length;
  expect(Math.abs(moment(1))).toBeLessThan(0.005);
  expect(Math.abs(moment(2) - 1)).toBeLessThan(0.01);
  expect(Math.abs(moment(3))).toBeLessThan(0.02);
  expect(Math.abs(moment(4) - 3)).toBeLessThan(0.05);
});
