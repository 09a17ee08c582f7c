import { expect, test } from "vitest";
import { roundInPlace } from "./low-precision.ts";

const round = (value: number, dtype: "float32" | "float16" | "bfloat16") => {
  const data = Float32Array.of(value);
  roundInPlace(data, dtype);
  return data[0];
};

test.each([
  [1 + 2 ** -11, 1],
  [1 + 3 * 2 ** -11, 1 + 2 ** -9],
  [1 + 2 ** -11 + 2 ** -20, 1 + 2 ** -10],
  [-2 + 2 ** -11, -2],
  [2 ** -14 - 2 ** -25, 2 ** -14],
  [3 * 2 ** -25, 2 ** -23],
  [2 ** -25, 0],
  [-(2 ** -25), -0],
  [2 ** -25 + 2 ** -30, 2 ** -24],
])("float16: %s becomes %s", (value, expected) => expect(round(value, "float16")).toBe(expected));

test.each([
  [1 + 2 ** -8, 1],
  [1 + 3 * 2 ** -8, 1 + 2 ** -6],
  [1 + 2 ** -8 + 2 ** -20, 1 + 2 ** -7],
  [-4 + 2 ** -7, -4],
  [2 ** -130, 2 ** -130],
])("bfloat16: %s becomes %s", (value, expected) => expect(round(value, "bfloat16")).toBe(expected));

test("float32 stays as it is, and a view rounds its own part of a buffer only", () => {
  expect(round(1 + 2 ** -20, "float32")).toBe(1 + 2 ** -20);
  const whole = Float32Array.of(1.001, 1.001, 1.001);
  roundInPlace(whole.subarray(1, 2), "bfloat16");
  expect([...whole].map((value) => value === 1)).toEqual([false, true, false]);
});
