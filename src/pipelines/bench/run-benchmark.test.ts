/** Rounds, failures, and what is written, with runs that take no time. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CancelledError, EngineError, UsageError } from "../../errors.ts";
import { type BenchCell, cellText } from "./bench-cell.ts";
import type { BenchRun } from "./bench-run.ts";
import { type BenchEvent, type BenchOptions, runBenchmark } from "./run-benchmark.ts";

const recipe = {
  ...{ model: "demo", modelHash: "0123456789abcdef", pipeline: "P", scheduler: "S", prompt: "x", seed: "0" },
  ...{ steps: 2, guidanceScale: 4.5, height: 128, width: 96 },
};
const run = (seconds: number, change: Partial<BenchRun> = {}): BenchRun => ({
  ...{ loadSeconds: 0.5, quantizeSeconds: 0.25, stepSeconds: [seconds / 2, seconds / 2], weightBytes: { transformer: 2e9 } },
  ...{
    phases: [{ phase: "denoise", seconds, peakAnonymousBytes: 4e8, peakResidentBytes: 9e8 }],
    peakAnonymousBytes: 1e9,
    peakResidentBytes: 3e9,
    commandSeconds: 2 * seconds,
    ...change,
  },
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "halftone-bench-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const own = async (): Promise<BenchRun> => run(1, { recipe });
const bench = (options: Partial<BenchOptions> = {}) => runBenchmark({ measure: own, ...options });
const read = (name: string) => readFileSync(join(folder, "out", name), "utf8");

describe("rounds", () => {
  test("go over all cells, each beside its twins, before the next begins", async () => {
    const made: string[] = [];
    const note = (tool: string, result: () => BenchRun) => async (cell: BenchCell) => {
      made.push(`${tool} ${cellText(cell)}`);
      return result();
    };
    const events: BenchEvent[] = [];
    const { report, output } = await bench({
      ...{ qtypes: ["none", "qint8"], runs: 2, peerDtypes: ["bfloat16"] },
      measure: note("own", () => run(made.length, { recipe })),
      measurePeer: note("peer", () => run(2, { name: "diffusers", versions: { torch: "2" } })),
      onEvent: (event) => events.push(event),
    });
    const round = [
      "own none, 1 image, float32",
      "peer none, 1 image, bfloat16",
      "own qint8, 1 image, float32",
      "peer qint8, 1 image, bfloat16",
    ];
    expect(made).toEqual([...round, ...round]);
    expect(output).toBeUndefined();
    expect(report).toMatchObject({ recipe, runs: 2, peer: { name: "diffusers", versions: { torch: "2" } }, settings: {} });
    expect(report.machine).toMatchObject({ cores: expect.any(Number), onnxruntime: expect.stringMatching(/^\d/), node: process.version });
    expect(report.rows[0]?.summary?.seconds).toEqual({ median: 3, min: 1, max: 5 });
    expect(events.map(({ done, run: found }) => `${done}${found === undefined ? "" : "!"}`).join(" ")).toBe(
      "0 1! 1 2! 2 3! 3 4! 4 5! 5 6! 6 7! 7 8!",
    );
    expect(events[0]).toMatchObject({ tool: "halftone", name: "none, 1 image, float32", round: 1, rounds: 2, total: 8 });
  });

  test("tell the peer what halftone's defaults are, once a cell has worked", async () => {
    const asked: object[] = [];
    const measure: BenchOptions["measure"] = async ({ images }) => {
      if (images === 1) throw new UsageError("this does not fit");
      return own();
    };
    const { report } = await bench({
      ...{ images: [1, 4], runs: 1, measure },
      measurePeer: async ({ images }, told) => {
        asked.push({ images, told });
        return run(1);
      },
    });
    expect(asked).toEqual([
      { images: 4, told: recipe },
      { images: 1, told: recipe },
    ]);
    expect(report.rows.map(({ failure }) => failure)).toEqual(["this does not fit", null, null, null]);
  });
});

describe("failures", () => {
  test("are rows that say why, and are not tried again", async () => {
    let tried = 0;
    const measurePeer = async () => {
      tried++;
      throw new EngineError("the peer ended | with *exit* code 1");
    };
    await bench({ runs: 3, measurePeer, output: join(folder, "out") });
    expect(tried).toBe(1);
    expect(JSON.parse(read("bench.json")).rows[1]).toMatchObject({ summary: null, failure: "the peer ended | with *exit* code 1" });
    expect(read("bench.md")).toContain("| peer float32 | the peer ended \\| with \\*exit\\* code 1 |");
    expect(read("bench.md")).toContain("No row has a twin that could be measured.");
    expect(read("latency.svg")).toContain(">the peer ended | with *exit* code 1</text>");
  });

  test("of all of halftone's cells are the benchmark's, and nothing is left", async () => {
    const measure = async () => {
      throw new UsageError("height must be a multiple of 16, got 100");
    };
    const measurePeer = async () => run(1);
    const asked = { measure, measurePeer, output: join(folder, "out") };
    await expect(bench(asked)).rejects.toThrow("height must be a multiple of 16, got 100");
    await expect(bench({ ...asked, measure: async () => run(1) })).rejects.toThrow("measure() told of no recipe");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("that are defects stop everything", async () => {
    const measure = async () => {
      throw new TypeError("x is undefined");
    };
    await expect(bench({ measure })).rejects.toThrow(TypeError);
  });

  test("a stop leaves nothing", async () => {
    const controller = new AbortController();
    const measure = async () => {
      controller.abort();
      throw new CancelledError("stopped");
    };
    await expect(bench({ measure, output: join(folder, "out"), signal: controller.signal })).rejects.toThrow(CancelledError);
    expect(readdirSync(folder)).toEqual([]);
  });

  test.each<[options: Partial<BenchOptions>, message: string]>([
    [{ runs: 0 }, "runs must be a whole number of at least 1, got 0"],
    [{ qtypes: ["qint9"] }, "qtype must be one of"],
  ])("%j is refused before the work", async (options, message) => {
    let tried = 0;
    const measure = async () => {
      tried++;
      return own();
    };
    await expect(bench({ ...options, measure, output: join(folder, "out") })).rejects.toThrow(message);
    expect([tried, ...readdirSync(folder)]).toEqual([0]);
  });
});

describe("the folder", () => {
  test("holds tables in the shape of the field, with halftone laid beside the peer", async () => {
    let seconds = 0;
    const settings = { threads: 2 };
    await bench({
      ...{ qtypes: ["transformer=qint8"], exclude: ["proj_out"], images: [4], runs: 2, fuseQkv: true, settings },
      measure: async () => run(++seconds, { recipe, weightBytes: { transformer: 587e6 } }),
      measurePeer: async () => run(3, { name: "diffusers", versions: { torch: "2.13" }, peakAnonymousBytes: 4e9, commandSeconds: 5 }),
      output: join(folder, "out"),
    });
    expect(readdirSync(join(folder, "out")).sort()).toEqual(["bench.json", "bench.md", "latency.svg", "memory.svg"]);
    const text = read("bench.md");
    expect(text).toContain("# demo: time and memory\n\nP, 96 x 128, 2 steps, guidance 4.5, model 0123456789ab; median of 2 runs");
    expect(text).toContain("; diffusers: torch 2.13; threads 2.\n");
    expect(text).toContain("Never quantized: `proj_out`.");
    // Runs took 1 and 3 seconds, in rounds with the fused twin's 2 and 4.
    expect(text).toContain(
      "| 4 | qint8 | none |  | halftone float32 | 1.000 / 3.000 | 2.00 (1.00 to 3.00) | 1.00 (0.500 to 1.50) | 4.00 (2.00 to 6.00) | 0.587 |",
    );
    expect(text).toContain("| 4 | qint8 | none |  | halftone float32 | 0.500 | 0.250 |  | 2.00, 0.400 / 0.900 |  |");
    expect(text).toContain("| 4 | qint8 | none | yes | halftone float32 | 1.000 / 3.000 | 3.00 (2.00 to 4.00) |");
    expect(text).toContain("| 4 | qint8 | none |  | halftone float32 | diffusers float32 | 0.67 | 0.67 | 0.80 | 0.25 | 1.00 |");
    expect(read("memory.svg")).toContain(">1.000 / 3.000 GB</text>");
    expect(read("latency.svg")).toContain(">transformer=qint8</text>");
    expect(read("latency.svg")).toContain(">layers left out, 4 images, fused</text>");
  });

  test("tells sizes and layers left out apart where they differ", async () => {
    const sizes = [
      { height: 512, width: 512 },
      { height: 768, width: 1024 },
    ];
    await bench({ qtypes: ["qint8"], exclude: ["none", "proj_out"], sizes, runs: 1, output: join(folder, "out") });
    const text = read("bench.md");
    expect(text).toContain("P, 512 x 512 and 1024 x 768, 2 steps");
    expect(text).toContain("Not quantized in the rows that say so: `proj_out`.");
    expect(text).toContain("| size | batch | transformer | text encoder | layers left out | QKV fused | tool, dtype | memory, GB |");
    expect(text).toContain("| 512 x 512 | 1 | qint8 | qint8 |  |  | halftone float32 |");
    expect(text).toContain("| 1024 x 768 | 1 | qint8 | qint8 | yes |  | halftone float32 |");
    expect(read("latency.svg")).toContain(">layers left out, 1024 x 768, 1 image</text>");
  });

  test("that is taken is replaced only where it is an earlier benchmark, and asked for", async () => {
    const output = join(folder, "out");
    await bench({ output });
    await expect(bench({ output })).rejects.toThrow("exists and is not empty");
    expect((await bench({ output, force: true })).output).toContain("out");
    rmSync(join(output, "bench.json"));
    await expect(bench({ output, force: true })).rejects.toThrow("holds files that are not a benchmark's");
  });
});
