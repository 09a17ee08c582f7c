/** Flags of `halftone quantize` and what it says; the library is a stand-in. The real command runs in test/e2e/quantize.test.ts. */
import { describe, expect, test } from "vitest";
import { runWithLibrary } from "../../test/support/stand-in-command.ts";
import { type QuantizeCheckpointOptions, type QuantizeReport, UsageError } from "../index.ts";
import type { Library } from "./surroundings.ts";

const REPORT: QuantizeReport = {
  output: "/models/small",
  parts: [
    {
      name: "text_encoder",
      className: "T5EncoderModel",
      qtypes: { qfloat8_e4m3fn: 14 },
      floatLayers: 0,
      storedBytes: 2_820_000,
      savedBytes: 1_520_000,
    },
    {
      name: "transformer",
      className: "PixArtTransformer2DModel",
      qtypes: { qint8: 50, qint4: 6 },
      floatLayers: 1,
      storedBytes: 11_900_000,
      savedBytes: 5_800_000,
    },
  ],
  seconds: 1.234,
  peakResidentBytes: 123e6,
};

async function run(args: readonly string[], change: { fail?: unknown } = {}) {
  const asked: { model: string; options: QuantizeCheckpointOptions }[] = [];
  const library: Partial<Library> = {
    async quantizeCheckpoint(model, options) {
      asked.push({ model, options });
      if (change.fail !== undefined) throw change.fail;
      options.onEvent?.({ type: "warning", message: "the cache is on a slow disk" });
      options.onEvent?.({ type: "quantize", part: "transformer", doneBytes: 1e6, totalBytes: 2e6 });
      options.onEvent?.({ type: "quantize", part: "transformer", doneBytes: 2e6, totalBytes: 2e6 });
      return REPORT;
    },
  };
  return { ...(await runWithLibrary(args, library)), asked: asked[0] };
}

const NEEDED = ["quantize", "m", "--qtype", "qint8", "--output", "o"];

describe("halftone quantize", () => {
  test("says what it does and ends with bytes before and after", async () => {
    const { code, stdout, stderr } = await run(NEEDED);
    expect(code).toBe(0);
    expect(stdout).toBe("o\n");
    const lines = stderr.split("\n");
    expect(lines[0]).toBe("warning: the cache is on a slow disk");
    expect(lines[1]).toMatch(/^quantize transformer {2}2.00 MB of 2.00 MB {2}(.* )?memory .* MB$/);
    expect(lines[2]).toBe(
      "/models/small  text_encoder qfloat8_e4m3fn 2.82 MB -> 1.52 MB  transformer 50 qint8 + 6 qint4 (1 layer float) 11.9 MB -> 5.80 MB  peak 123 MB  1.23 s",
    );
    expect(lines).toHaveLength(4);
  });

  test("--quiet keeps stderr empty but for warnings, --json prints the report", async () => {
    expect(await run([...NEEDED, "--quiet"])).toMatchObject({ stdout: "o\n", stderr: "warning: the cache is on a slow disk\n" });
    const { stdout } = await run([...NEEDED, "--json"]);
    expect(JSON.parse(stdout)).toEqual({ ...REPORT, warnings: ["the cache is on a slow disk"] });
  });

  test("hands every flag to the library", async () => {
    const flags = ["--dtype", "float16", "--variant", "fp16", "--revision", "main", "--offline", "--optimizer", "hqq", "--force"];
    const patterns = ["--exclude", "proj_out", "--exclude", "*.0", "--include", "blocks.*"];
    const { asked } = await run([...NEEDED, ...flags, ...patterns, "--layout", "diffusers"]);
    expect(asked?.model).toBe("m");
    expect(asked?.options).toMatchObject({
      qtype: "qint8",
      output: "o",
      dtype: "float16",
      variant: "fp16",
      revision: "main",
      localFilesOnly: true,
      optimizer: "hqq",
      force: true,
      exclude: ["proj_out", "*.0"],
      include: ["blocks.*"],
      layout: "diffusers",
    });
  });

  test.each<[args: string[], message: string, hint?: string]>([
    [["quantize"], "quantize needs a model, got none"],
    [["quantize", "m", "--output", "o"], "quantize needs --qtype, got none", "for example --qtype qint8"],
    [["quantize", "m", "--qtype", "qint8"], "quantize needs --output, got none", "name the folder to write"],
    [[...NEEDED, "--optimizer", "hq"], '--optimizer expects absmax, max or hqq, got "hq"', "did you mean hqq?"],
    [[...NEEDED, "--layout", "pickle"], '--layout expects quanto or diffusers, got "pickle"'],
    [[...NEEDED, "--exclude", ""], "--exclude expects a pattern of layer names, got an empty text"],
    [[...NEEDED, "--exclud", "x"], 'there is no option "--exclud"', "did you mean --exclude?"],
  ])("%j is misuse", async (args, message, hint) => {
    const { code, stderr, asked } = await run(args);
    expect(stderr).toBe(`error: ${message}\n${hint === undefined ? "" : `hint:  ${hint}\n`}`);
    expect(code).toBe(2);
    expect(asked).toBeUndefined();
  });

  test("an error of the library names the flag", async () => {
    const { code, stderr } = await run(NEEDED, { fail: new UsageError('qtype must be one of qint8, got "int8"') });
    expect(stderr).toBe('error: --qtype must be one of qint8, got "int8"\n');
    expect(code).toBe(2);
  });
});
