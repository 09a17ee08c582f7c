/** `halftone bench` in process: what it asks of the library, what it refuses, and what it says. */
import { describe, expect, test } from "vitest";
import { runWithLibrary } from "../../test/support/stand-in-command.ts";
import { type BenchOptions, type BenchReport, type BenchRow, CancelledError, type Spread } from "../index.ts";
import { commandWords } from "./command-words.ts";
import type { Library } from "./surroundings.ts";

const always = (value: number): Spread => ({ median: value, min: value, max: value });
const cell = { dtype: "float32", qtype: "qint8", exclude: [], fuseQkv: false, size: null, images: 1, mode: "faithful" } as const;
const row: BenchRow = {
  ...{ tool: "halftone", name: "qint8, 1 image, float32", cell, runs: [], failure: null },
  summary: {
    ...{ seconds: always(12.5), secondsPerStep: always(1.25), loadSeconds: always(1), quantizeSeconds: always(1), phases: {} },
    ...{ commandSeconds: always(15), peakAnonymousBytes: always(1.5e9), peakResidentBytes: always(2.5e9), weightBytes: 6e8 },
  },
};
const REPORT: BenchReport = {
  ...{ machine: {}, settings: {}, runs: 3, peer: { name: "diffusers", versions: {} } },
  recipe: {
    ...{ model: "demo", modelHash: "0", pipeline: "P", scheduler: "S", prompt: "x", seed: "0" },
    ...{ steps: 1, guidanceScale: 1, height: 64, width: 64 },
  },
  rows: [row, { ...row, tool: "peer", summary: null, failure: "the peer ended with exit code 1: MemoryError" }],
};

async function run(args: readonly string[], fail?: unknown) {
  const asked: BenchOptions[] = [];
  const library: Partial<Library> = {
    async runBenchmark(options) {
      asked.push(options);
      if (fail !== undefined) throw fail;
      const place = { type: "bench", tool: "halftone", cell, name: row.name, round: 1, rounds: 3, total: 6 } as const;
      options.onEvent?.({ ...place, done: 0 });
      options.onEvent?.({ ...place, done: 6, failure: "it does not fit" });
      return { report: REPORT, output: "/out" };
    },
  };
  return { ...(await runWithLibrary(["bench", ...args], library)), asked: asked[0] };
}

describe("halftone bench", () => {
  test("asks for one cell without a peer unless told", async () => {
    const { code, stdout, asked } = await run([]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "halftone-bench\n" });
    expect(asked).toMatchObject({ qtypes: undefined, images: undefined, measurePeer: undefined, output: "halftone-bench", settings: {} });
  });

  test("hands the matrix on", async () => {
    const matrix = [
      "--qtype",
      "none",
      "--qtype",
      "qint8",
      "--dtype",
      "float16",
      "--dtype",
      "float32",
      "--images",
      "1, 4",
      "--fuse-qkv",
      "--fast",
    ];
    const rest = [
      "--size",
      "512, 1024x768",
      "--exclude",
      "none",
      "--exclude",
      "proj_out",
      "--peers",
      "python peer.py",
      "--peer-dtype",
      "bfloat16",
      "--runs",
      "5",
      "--threads",
      "2",
    ];
    const { asked } = await run(["m", ...matrix, ...rest, "--max-memory", "1GB", "--output", "o", "--force"]);
    expect(asked).toMatchObject({
      ...{
        qtypes: ["none", "qint8"],
        dtypes: ["float16", "float32"],
        images: [1, 4],
        fuseQkv: true,
        fast: true,
        exclude: ["none", "proj_out"],
      },
      sizes: [
        { height: 512, width: 512 },
        { height: 768, width: 1024 },
      ],
      ...{ peerDtypes: ["bfloat16"], runs: 5, output: "o", force: true, settings: { threads: 2, maxMemory: 1e9, peers: "python peer.py" } },
      measurePeer: expect.any(Function),
    });
  });

  test("says what it found in a line for each row", async () => {
    const { stderr } = await run([]);
    expect(stderr.split("\n")).toEqual([
      "halftone qint8, 1 image, float32  run 1/3  failed: it does not fit",
      "halftone-bench",
      "halftone   qint8, 1 image, float32  12.5 s  1.25 s/step  peak 1.50 GB / 2.50 GB",
      "diffusers  qint8, 1 image, float32                       failed: the peer ended with exit code 1: MemoryError",
      "",
    ]);
  });

  test("--json prints the report, --quiet nothing else", async () => {
    const { stdout, stderr } = await run(["--json", "--quiet"]);
    expect(JSON.parse(stdout)).toEqual(REPORT);
    expect(stderr).toBe("");
  });

  test.each<[args: string[], message: string, hint?: string]>([
    [["a", "b"], 'bench takes one model, got 2: "a", "b"'],
    [["--qtpye", "qint8"], 'there is no option "--qtpye"', "did you mean --qtype?"],
    [["--size", "512x512x3"], '--size expects sizes such as 512 or 1024x768, got "512x512x3"'],
    [["--size", "512,0"], '--size expects a whole number from 1 to 65536, got "0"'],
    [["--size", "512", "--width", "512"], "--size and --height or --width exclude each other"],
    [["--images", "1,x"], '--images expects a whole number from 1 to 10000, got "x"'],
    [["--images", "--qtype"], "--images needs a value, got the option --qtype"],
    [["--dtype", "float64"], '--dtype expects float32, float16 or bfloat16, got "float64"'],
    [["--peers", "  "], "--peers expects a command, got an empty text"],
    [["--peers", "python 'peer.py"], "--peers has a quote without its end: python 'peer.py"],
    [
      ["--peers", ".venv/bin/pythn reference/peer.py"],
      '--peers expects a command, but there is no ".venv/bin/pythn"',
      "in a clone, reference/setup.sh makes .venv/bin/python for reference/peer.py",
    ],
    [["--include", "proj_out"], 'there is no option "--include"', "halftone bench --help lists the options"],
    [["--peer-dtype", "float16"], "--peer-dtype says what the peer calculates in, but none is named", "name its command with --peers"],
  ])("%j is misuse", async (args, message, hint) => {
    const { code, stderr, asked } = await run(args);
    expect({ code, asked }).toEqual({ code: 2, asked: undefined });
    expect(stderr).toContain(`error: ${message}\n`);
    if (hint !== undefined) expect(stderr).toContain(`hint:  ${hint}\n`);
  });

  test("a cancelled benchmark says so", async () => {
    expect(await run([], new CancelledError("stopped"))).toMatchObject({ code: 1, stderr: "cancelled: nothing was written\n" });
  });
});

test.each([
  ["python peer.py", ["python", "peer.py"]],
  [`  "my python" 'peer file.py' --x="a b"  c`, ["my python", "peer file.py", "--x=a b", "c"]],
  ["C:\\python.exe $HOME *", ["C:\\python.exe", "$HOME", "*"]],
  [`a "it's" ''`, ["a", "it's", ""]],
])("%s in words", (text, words) => {
  expect(commandWords(text, "--peers")).toEqual(words);
});
