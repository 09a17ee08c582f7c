/** What runs say together, and what is made of what another process prints. */
import { describe, expect, test } from "vitest";
import { byWork, summaryOf } from "./bench-report.ts";
import { type BenchRun, parseBenchRun } from "./bench-run.ts";
import { median, spreadOf } from "./statistics.ts";

describe("median and spread", () => {
  test.each([
    [[3, 1, 2], { median: 2, min: 1, max: 3 }],
    [[4, 1, 2, 3], { median: 2.5, min: 1, max: 4 }],
    [[10, 9], { median: 9.5, min: 9, max: 10 }],
    [[7], { median: 7, min: 7, max: 7 }],
  ])("of %j", (values, spread) => {
    expect(spreadOf(values)).toEqual(spread);
  });

  test("of nothing is nothing, and the numbers stay in their order", () => {
    expect([spreadOf([]), median([])]).toEqual([undefined, undefined]);
    const values = [3, 1, 2];
    median(values);
    expect(values).toEqual([3, 1, 2]);
  });
});

const run = (change: Partial<BenchRun> = {}): BenchRun => ({
  ...{ loadSeconds: 1, quantizeSeconds: 2, stepSeconds: [5, 1, 2], weightBytes: { transformer: 100, vae: 7 } },
  phases: [
    { phase: "encode", seconds: 1 },
    { phase: "denoise", seconds: 8 },
    { phase: "decode", seconds: 3, peakAnonymousBytes: 9 },
    { phase: "decode", seconds: 1, peakAnonymousBytes: 8 },
  ],
  ...change,
});

const noPeaks = { peakAnonymousBytes: undefined, peakResidentBytes: undefined };

describe("a summary", () => {
  test("is over runs what each of them took", () => {
    const slow = run({ stepSeconds: [4], phases: [{ phase: "denoise", seconds: 30 }], peakAnonymousBytes: 50, commandSeconds: 40 });
    expect(summaryOf([run({ peakAnonymousBytes: 40, commandSeconds: 20 }), slow])).toEqual({
      seconds: { median: 21.5, min: 13, max: 30 },
      secondsPerStep: { median: 3, min: 2, max: 4 },
      loadSeconds: { median: 1, min: 1, max: 1 },
      quantizeSeconds: { median: 2, min: 2, max: 2 },
      phases: {
        encode: { ...noPeaks, seconds: { median: 0.5, min: 0, max: 1 } },
        denoise: { ...noPeaks, seconds: { median: 19, min: 8, max: 30 } },
        decode: {
          seconds: { median: 2, min: 0, max: 4 },
          peakAnonymousBytes: { median: 9, min: 9, max: 9 },
          peakResidentBytes: undefined,
        },
      },
      commandSeconds: { median: 30, min: 20, max: 40 },
      peakAnonymousBytes: { median: 45, min: 40, max: 50 },
      peakResidentBytes: undefined,
      weightBytes: 107,
    });
  });

  test("of no run is null, and what a system does not tell is left out", () => {
    expect(summaryOf([])).toBeNull();
    expect(summaryOf([run({ stepSeconds: [], peakResidentBytes: null })])).toMatchObject({
      secondsPerStep: undefined,
      peakResidentBytes: undefined,
    });
  });

  test("rows of the same work stand together", () => {
    const cell = { dtype: "float32", qtype: null, exclude: [], fuseQkv: false, size: null, mode: "faithful" } as const;
    const rows = [1, 4, 1].map((images, i) => ({ i, cell: { ...cell, images } }));
    expect(byWork(rows).map((group) => group.map(({ i }) => i))).toEqual([[0, 2], [1]]);
  });
});

describe("what another process prints", () => {
  test("is one object, or remarks and a line with one", () => {
    expect(parseBenchRun(JSON.stringify(run(), undefined, 2), "it")).toEqual(run());
    expect(parseBenchRun(`loading 50 %\n${JSON.stringify({ ...run(), more: [1] })}\n`, "it")).toEqual(run());
  });

  test.each<[printed: string, message: string]>([
    ["", "the peer printed nothing, expected one JSON object"],
    ["ready\n", 'the peer printed "ready", expected one JSON object'],
    ["{}", 'the peer printed JSON without "loadSeconds"'],
    ["7", "the peer printed JSON of another form: expected Object, got 7"],
    [JSON.stringify({ ...run(), phases: [] }), 'the peer printed JSON with a wrong "phases"'],
    [JSON.stringify({ ...run(), stepSeconds: [1, "2"] }), 'the peer printed JSON with a wrong "stepSeconds.1": expected number, got "2"'],
    [JSON.stringify({ ...run(), loadSeconds: -1 }), 'the peer printed JSON with a wrong "loadSeconds": expected >=0, got -1'],
    ["x".repeat(200), `the peer printed "${"x".repeat(80)}…", expected`],
  ])("%j is refused", (printed, message) => {
    expect(() => parseBenchRun(printed, "the peer")).toThrow(message);
  });
});
