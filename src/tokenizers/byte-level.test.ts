import fc from "fast-check";
import { expect, test } from "vitest";
import { fromByteCharacters, toByteCharacters } from "./byte-level.ts";

test("printable characters stand for themselves, the others for U+0100 and up", () => {
  expect(toByteCharacters("a!~")).toBe("a!~");
  expect(toByteCharacters("\0 \n")).toBe("\u0100\u0120\u010a");
  expect(toByteCharacters("é")).toBe("Ã©");
  expect(toByteCharacters("\u00ad")).toBe("Â\u0143");
});

test("any text comes back", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => fromByteCharacters([toByteCharacters(text)]) === text));
});

test("a token with other characters counts as it is written; bytes that are not UTF-8 read as U+FFFD", () => {
  expect(fromByteCharacters(["a", "☃ b", "Ã", "©"])).toBe("a☃ bé");
  expect(fromByteCharacters(["Ã", "a"])).toBe("\ufffda");
  expect(fromByteCharacters([toByteCharacters("\ufeffa")])).toBe("\ufeffa");
});
