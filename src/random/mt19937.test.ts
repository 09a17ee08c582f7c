import { expect, test } from "vitest";
import { Mt19937 } from "./mt19937.ts";

test("gives the words that the C++ standard demands of mt19937", () => {
  const engine = new Mt19937(5489);
  const words = Array.from({ length: 10_000 }, () => engine.nextInt32() >>> 0);
  expect(words[0]).toBe(3499211612);
  expect(words[9_999]).toBe(4123659995);
});

test("uniform numbers use the low bits of one word, or of two", () => {
  const words = new Mt19937(1);
  const [first, second, third] = [words.nextInt32() >>> 0, words.nextInt32() >>> 0, words.nextInt32() >>> 0];
  const engine = new Mt19937(1);
  expect(engine.nextFloat32()).toBe((first % 2 ** 24) / 2 ** 24);
  expect(engine.nextFloat64()).toBe(((second % 2 ** 21) * 2 ** 32 + third) / 2 ** 53);
});

test("seeds of the upper half of 32 bits are the same signed or unsigned", () => {
  expect(new Mt19937(0xffffffff).nextInt32()).toBe(new Mt19937(-1).nextInt32());
});
