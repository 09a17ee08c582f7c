/** `halftone compare` in process: what it asks of the library, what it refuses, and what it says. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runWithLibrary } from "../../test/support/stand-in-command.ts";
import { CancelledError, type CompareOptions, type CompareReport, type Measured, UsageError } from "../index.ts";
import { DEMO_PROMPTS } from "./prompts-file.ts";
import type { Library } from "./surroundings.ts";

const measured: Measured = {
  weightBytes: 4.3e6,
  partBytes: { transformer: 4.3e6 },
  secondsPerStep: 0.1,
  similarity: { psnr: 29.44, ssim: 0.98765 },
  pictures: [{ psnr: 29.44, ssim: 0.98765 }],
  latentErrors: [0.03],
  predictionError: 0.0339,
};
const proposal = {
  target: { psnr: 40 },
  isReached: false,
  layers: ["proj_out"],
  flags: "--exclude proj_out",
  costBytes: 12_000,
  predictedError: 0.02,
  measured: { ...measured, similarity: { psnr: null, ssim: 1 } },
};
const REPORT: CompareReport = {
  version: "0",
  model: "demo",
  modelHash: "00",
  pipeline: "P",
  scheduler: "S",
  dtype: "float32",
  steps: 2,
  guidanceScale: 4.5,
  height: 128,
  width: 128,
  prompts: [{ prompt: "x", seed: "0" }],
  reference: { weightBytes: 14.7e6, partBytes: {}, secondsPerStep: 0.1 },
  variants: [
    { label: "qint4", spec: "qint4", fast: false, include: [], exclude: [], measured, sensitivity: null, proposal },
    {
      label: "transformer=qint8",
      spec: "transformer=qint8",
      fast: false,
      include: [],
      exclude: [],
      measured,
      sensitivity: null,
      proposal: null,
    },
  ],
  warnings: [],
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "halftone-compare-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function run(args: readonly string[], fail?: unknown) {
  const asked: { model: string; options: CompareOptions }[] = [];
  const library: Partial<Library> = {
    async compareQuantization(model, options) {
      asked.push({ model, options });
      if (fail !== undefined) throw fail;
      options.onEvent?.({ type: "warning", message: "the prompt was cut" });
      options.onEvent?.({ type: "compare", setting: "qint4", work: "layers", done: 71, total: 71 });
      return { report: REPORT, grid: { width: 1, height: 1, data: new Uint8Array(3) }, output: "/out" };
    },
  };
  return { ...(await runWithLibrary(["compare", ...args], library)), asked: asked[0] };
}

describe("halftone compare", () => {
  test("asks for the embedded model with its own prompts, into a default folder", async () => {
    const { code, stdout, asked } = await run(["--qtype", "qint8", "--qtype", "transformer=qint4"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "halftone-compare\n" });
    expect(asked).toMatchObject({
      model: "/demo",
      options: { qtypes: ["qint8", "transformer=qint4"], prompts: DEMO_PROMPTS, output: "halftone-compare" },
    });
    expect(asked?.options.sensitivity).toBeUndefined();
    expect((await run(["/demo", "--qtype", "qint8"])).asked?.options.prompts).toEqual(DEMO_PROMPTS);
  });

  test("hands every flag on", async () => {
    const file = join(folder, "prompts.txt");
    writeFileSync(file, "\uFEFFa fox\r\n\n  # not this one\n  an owl \n");
    const flags = [
      "--prompts",
      file,
      "--qtype",
      "qint8",
      "--include",
      "a*",
      "--exclude",
      "b",
      "--exclude",
      "c",
      "--seed",
      "7",
      "--steps",
      "3",
    ];
    const more = ["--guidance-scale", "2.5", "--height", "64", "--width", "96", "--dtype", "float16", "--threads", "2", "--output", "o"];
    const last = ["--max-memory", "2GB", "--force", "--offline", "--no-sensitivity", "--target-error", "0.01"];
    const { asked } = await run(["some/model", ...flags, ...more, ...last]);
    expect(asked).toEqual({
      model: "some/model",
      options: {
        ...{ prompts: ["a fox", "an owl"], qtypes: ["qint8"], include: ["a*"], exclude: ["b", "c"], seed: 7, numInferenceSteps: 3 },
        ...{ guidanceScale: 2.5, height: 64, width: 96, dtype: "float16", threads: 2, maxMemory: 2e9, output: "o", force: true },
        ...{ localFilesOnly: true, sensitivity: false, targetError: 0.01, signal: expect.any(AbortSignal), onEvent: expect.any(Function) },
      },
    });
    expect((await run(["--qtype", "qint8", "--sensitivity", "--target-psnr", "40"])).asked?.options).toMatchObject({
      sensitivity: true,
      targetPsnr: 40,
    });
  });

  test("says what it found in a line for each setting", async () => {
    const { stderr } = await run(["--qtype", "qint4"]);
    expect(stderr.split("\n")).toEqual([
      "warning: the prompt was cut",
      "qint4  layers 71/71",
      "halftone-compare",
      "float32            14.7 MB",
      "qint4              4.30 MB  PSNR 29.4 dB  SSIM 0.9877  error 3.39 %",
      "                   4.30 MB  PSNR equal  SSIM 1.0000  error 3.39 %  with 1 layer in float (+12.0 kB)",
      "                   the target is not reached",
      "                   --exclude proj_out",
      "transformer=qint8  4.30 MB  PSNR 29.4 dB  SSIM 0.9877  error 3.39 %",
      "",
    ]);
  });

  test("--json prints the report, --quiet nothing else", async () => {
    const { stdout, stderr } = await run(["--qtype", "qint4", "--json", "--quiet"]);
    expect(JSON.parse(stdout)).toEqual(REPORT);
    expect(stderr).toBe("warning: the prompt was cut\n");
  });

  test.each<[args: string[], message: string, hint?: string]>([
    [[], "compare needs --qtype, got none", "for example --qtype qint8 --qtype qint4"],
    [["m", "--qtype", "qint8"], "compare needs --prompts, got none", "name a file with a prompt a line"],
    [["a", "b", "--qtype", "qint8"], 'compare takes one model, got 2: "a", "b"'],
    [["--qtype", "qint8", "--target-pnsr", "40"], 'there is no option "--target-pnsr"', "did you mean --target-psnr?"],
    [["--qtype", "qint8", "--target-error", "0"], '--target-error expects a number from 0.000001 to 1, got "0"'],
    [["--qtype", ""], "--qtype expects a qtype or pairs part=qtype, got an empty text"],
  ])("%j is misuse", async (args, message, hint) => {
    const { code, stderr, asked } = await run(args);
    expect({ code, asked }).toEqual({ code: 2, asked: undefined });
    expect(stderr).toContain(`error: ${message}\n`);
    if (hint !== undefined) expect(stderr).toContain(`hint:  ${hint}\n`);
  });

  test("files of prompts that are none are refused", async () => {
    const file = (name: string, content: string | Uint8Array) => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };
    mkdirSync(join(folder, "sub"));
    const said = async (path: string) => (await run(["--qtype", "qint8", "--prompts", path])).stderr.split("\n")[0];
    expect(await said(file("empty.txt", "\n# nothing\n"))).toMatch(/^error: ".*empty.txt" holds no prompt, expected one a line$/);
    expect(await said(join(folder, "none.txt"))).toMatch(/^error: the file of prompts ".*none.txt" does not exist$/);
    expect(await said(join(folder, "sub"))).toMatch(/^error: ".*sub" is a folder, expected a file of prompts$/);
    expect(await said(file("picture.png", Uint8Array.of(137, 80, 255, 254)))).toMatch(/^error: .* is not UTF-8 text$/);
    expect(await said(file("large.txt", new Uint8Array(2 ** 20 + 1)))).toMatch(
      /has 1048577 bytes, expected a file of prompts of at most 1048576$/,
    );
  });

  test("errors name flags, and a cancelled comparison says so", async () => {
    const failed = await run(["--qtype", "qint8"], new UsageError("targetPsnr must be a number above 0, got 0"));
    expect(failed).toMatchObject({ code: 2, stderr: "error: --target-psnr must be a number above 0, got 0\n" });
    expect(await run(["--qtype", "qint8"], new CancelledError("stopped"))).toMatchObject({
      code: 1,
      stderr: "cancelled: nothing was written\n",
    });
  });
});
