import { expect, it } from "vitest";
import { memorySizeBytes } from "./memory-size.ts";

it.each<[number | string, number]>([
  [1000, 1000],
  ["1000000000", 1e9],
  ["1GB", 1e9],
  ["1 gb", 1e9],
  ["1.5GB", 1.5e9],
  ["1GiB", 2 ** 30],
  ["512MiB", 512 * 2 ** 20],
  ["800MB", 8e8],
  [".5KiB", 512],
  ["7B", 7],
])("%s is %i bytes", (text, bytes) => {
  expect(memorySizeBytes(text, "maxMemory")).toBe(bytes);
});

it.each(["", "GB", "1 TB", "-1GB", "1e9", "0x10", "1,5GB", "1GB 2GB", "NaN", "Infinity", 0, -5, Number.NaN, "0", "0.1B"])(
  "%s is none",
  (text) => {
    expect(() => memorySizeBytes(text, "--max-memory")).toThrow(`--max-memory expects an amount of memory, got ${JSON.stringify(text)}`);
  },
);
