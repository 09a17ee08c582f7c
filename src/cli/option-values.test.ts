import { describe, expect, test } from "vitest";
import { decimalNumber, dtypeWord, seedNumber, wholeNumber, word } from "./option-values.ts";

const NOT_NUMBERS = ["", " ", "ten", "NaN", "Infinity", "1e999", "0x10", "1_000", "1,5", "4 ", "--4", "٣", "1".repeat(40)];

describe("wholeNumber", () => {
  const read = wholeNumber("--steps", 1, 1000);

  test.each([
    ["1", 1],
    ["+20", 20],
    ["007", 7],
    ["1000", 1000],
  ])("%s is %i", (text, value) => {
    expect(read(text)).toBe(value);
  });

  test.each([...NOT_NUMBERS, "0", "-5", "1001", "1.5", "1e3"])("%j is refused", (text) => {
    const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
    expect(() => read(text)).toThrow(
      expect.objectContaining({
        name: "UsageError",
        message: `--steps expects a whole number from 1 to 1000, got ${JSON.stringify(shown)}`,
      }),
    );
  });

  test("a long word is cut in the message", () => {
    expect(() => read("x".repeat(5000))).toThrow(`got "${"x".repeat(60)}…"`);
  });
});

describe("decimalNumber", () => {
  const read = decimalNumber("--guidance-scale", 0, 1000);

  test.each([
    ["4.5", 4.5],
    [".5", 0.5],
    ["7.", 7],
    ["+1", 1],
    ["0", 0],
  ])("%s is %d", (text, value) => {
    expect(read(text)).toBe(value);
  });

  test.each([...NOT_NUMBERS, "-1", "1000.1", ".", "1e1"])("%j is refused", (text) => {
    expect(() => read(text)).toThrow(`--guidance-scale expects a number from 0 to 1000, got ${JSON.stringify(text)}`);
  });
});

describe("seedNumber", () => {
  const read = seedNumber("--seed");

  test.each([
    ["0", 0],
    ["-1", -1],
    ["9007199254740991", 9007199254740991],
    ["9007199254740993", 9007199254740993n],
    ["18446744073709551615", 18446744073709551615n],
    ["-9223372036854775808", -9223372036854775808n],
    ["+42", 42],
  ])("%s is exact", (text, value) => {
    expect(read(text)).toBe(value);
  });

  test.each([...NOT_NUMBERS, "1.5", "18446744073709551616", "-9223372036854775809"])("%j is refused", (text) => {
    expect(() => read(text)).toThrow(`--seed expects a whole number from -2^63 to 2^64 - 1, got ${JSON.stringify(text)}`);
  });
});

describe("words", () => {
  test("a dtype, or the nearest", () => {
    const read = dtypeWord("--dtype");
    expect(read("bfloat16")).toBe("bfloat16");
    expect(() => read("flaot16")).toThrow(
      expect.objectContaining({ message: '--dtype expects float32, float16 or bfloat16, got "flaot16"', hint: "did you mean float16?" }),
    );
    expect(() => read("int8")).toThrow(expect.objectContaining({ hint: undefined }));
  });

  test("a text that says something", () => {
    expect(word("--model", "a folder or a Hub id")("a b")).toBe("a b");
    expect(() => word("--model", "a folder or a Hub id")(" ")).toThrow("--model expects a folder or a Hub id, got an empty text");
  });
});
