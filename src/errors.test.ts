import { describe, expect, it } from "vitest";
import { nearestWord } from "./errors.ts";

describe("nearestWord", () => {
  it.each([
    ["dtpye", "dtype"],
    ["stpes", "steps"],
    ["QINT8", "qint8"],
    ["heigth", "height"],
    ["unrelated", undefined],
    ["", undefined],
  ])("of %j is %j", (word, nearest) => {
    expect(nearestWord(word, ["dtype", "steps", "qint8", "height"])).toBe(nearest);
  });

  it("gives up on more letters than a hint is worth", () => {
    const names = Array.from({ length: 90_000 }, (_, i) => `${"x".repeat(900)}${i}`);
    const started = performance.now();
    nearestWord(`${"x".repeat(900)}y`, names);
    // A bound, not a benchmark: without the limit this takes most of a minute.
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});
