/** Patterns against Python's own fnmatch (reference/quant.py). */
import { describe, expect, test } from "vitest";
import { readFixtureJson } from "../../test/support/tensor-file.ts";
import { matchesPattern } from "./fnmatch.ts";

const { matches, differs } = readFixtureJson<{ matches: [string, string][]; differs: [string, string][] }>("quant/patterns.json");

describe("fnmatch", () => {
  test("matches what Python matches, and nothing else", () => {
    expect(matches.length).toBeGreaterThan(500);
    expect(differs.length).toBeGreaterThan(500);
    expect(matches.filter(([pattern, name]) => !matchesPattern(name, pattern))).toEqual([]);
    expect(differs.filter(([pattern, name]) => matchesPattern(name, pattern))).toEqual([]);
  });

  test("takes no exponential time", () => {
    expect(matchesPattern("a".repeat(2000), `${"*a".repeat(30)}b`)).toBe(false);
  });
});
