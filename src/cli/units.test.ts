import { describe, expect, test } from "vitest";
import { bytesText, countText, secondsText, visibleText } from "./units.ts";

describe("units", () => {
  test.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [9_994, "9.99 kB"],
    [9_996, "10.0 kB"],
    [99_960, "100 kB"],
    [310_000_000, "310 MB"],
    [999_600_000, "1.00 GB"],
    [9_520_000_000, "9.52 GB"],
  ])("%i bytes are %s", (bytes, text) => {
    expect(bytesText(bytes)).toBe(text);
  });

  test.each([
    [0, "0"],
    [611_000_000, "611 M"],
    [4_762_310_656, "4.76 B"],
  ])("%i parameters are %s", (count, text) => {
    expect(countText(count)).toBe(text);
  });

  test.each([
    [0.0449, "0.04 s"],
    [9.994, "9.99 s"],
    [9.996, "10.0 s"],
    [99.96, "1 min 40 s"],
    [200, "3 min 20 s"],
    [3599.6, "1 h 0 min"],
    [7384, "2 h 3 min"],
  ])("%d seconds are %s", (seconds, text) => {
    expect(secondsText(seconds)).toBe(text);
  });
});

describe("visibleText", () => {
  test("shows what could steer a terminal, and nothing else", () => {
    expect(visibleText("a\nb\u001b[31m\u009b\u202e苹果 🍎 é")).toBe("a\\nb\\u001b[31m\\u009b\\u202e苹果 🍎 é");
  });
});
