/** halftone generate: what it asks the library for, what it writes and says. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { PIXELS, RECIPE, run, workInEmptyFolder } from "../../test/support/stand-in-command.ts";
import { encodePng } from "../image/png.ts";
import { CheckpointError, readRecipe } from "../index.ts";

workInEmptyFolder();

describe("generate", () => {
  test("what does not fit --max-memory is refused before a model is downloaded", async () => {
    const args = ["generate", "a fox", "--model", "some/model", "--max-memory", "1GB"];
    const refused = await run(args, { problem: "too large" });
    expect(refused).toMatchObject({ code: 2, asked: undefined });
    expect(refused.stderr).toContain("error: a fox in 1000000000: too large\nhint:  allow 2.0 GB\n");
    expect(await run(args)).toMatchObject({ code: 0, asked: { model: "some/model", load: { maxMemory: 1e9 } } });
    // What is here already has the library's own word.
    expect((await run(["generate", "a fox", "--model", ".", "--max-memory", "1GB"], { problem: "too large" })).code).toBe(0);
  });

  test("asks the library for what the flags say", async () => {
    const args = ["generate", "", "--negative-prompt", "-1", "--seed", "-3", "--steps", "4", "--guidance-scale", "1.5", "--height", "32"];
    const more = ["--width", "48", "--images", "2", "--dtype", "bfloat16", "--variant", "fp16", "--revision", "v1", "--threads", "3"];
    const { asked, disposed } = await run([...args, ...more, "--model", "owner/name", "--offline", "--binning", "--fast"]);
    expect(asked).toMatchObject({
      prompt: "",
      model: "owner/name",
      load: { dtype: "bfloat16", variant: "fp16", revision: "v1", threads: 3, localFilesOnly: true },
      generate: {
        negativePrompt: "-1",
        seed: -3,
        numInferenceSteps: 4,
        guidanceScale: 1.5,
        height: 32,
        width: 48,
        numImagesPerPrompt: 2,
        useResolutionBinning: true,
        fast: true,
      },
    });
    expect(disposed).toBe(1);
    expect(readdirSync(".").sort()).toEqual(["halftone--3-1.png", "halftone--3-2.png"]);
    const others = ["--prompt-2", "b", "--prompt-3", "", "--negative-prompt-2", "-", "--negative-prompt-3", "d", "--clip-skip", "1"];
    expect((await run(["generate", "a", ...others])).asked?.generate).toMatchObject({
      prompt2: "b",
      prompt3: "",
      negativePrompt2: "-",
      negativePrompt3: "d",
      clipSkip: 1,
    });
  });

  test("leaves every default to the library", async () => {
    const { asked } = await run(["generate", "x"]);
    expect(asked?.model).toBe("/demo");
    const given = Object.entries({ ...asked?.load, ...asked?.generate }).filter(
      ([key, value]) => value !== undefined && key !== "signal" && key !== "onEvent",
    );
    expect(given).toEqual([]);
  });

  test("prints file names to stdout, the summary to stderr", async () => {
    const { code, stdout, stderr } = await run(["generate", "x", "--images", "2", "--output", "a.png"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "a-1.png\na-2.png\n" });
    expect(stderr).toBe(
      "warning: the prompt was cut\na-1.png to a-2.png  2x1  seed 7  denoise 14.0 s (7 steps, 2.00 s/step)  peak 2.00 GB\n",
    );
  });

  test("on a terminal the summary alone names the file", async () => {
    expect((await run(["generate", "x"], { isTTY: true })).stdout).toBe("");
    expect((await run(["generate", "x", "--quiet"], { isTTY: true })).stdout).toBe("halftone-7.png\n");
  });

  test("--quiet keeps warnings", async () => {
    expect(await run(["generate", "x", "--quiet"])).toMatchObject({ stdout: "halftone-7.png\n", stderr: "warning: the prompt was cut\n" });
  });

  test("a warning cannot steer the terminal, and is whole in the JSON", async () => {
    const warning = 'vae has 1 tensor that its class does not use: "\u001b[2J\u009b1m\nerror: \u202e"';
    const { stdout, stderr } = await run(["generate", "x", "--json", "--quiet"], { warning });
    expect(stderr).toBe('warning: vae has 1 tensor that its class does not use: "\\u001b[2J\\u009b1m\\nerror: \\u202e"\n');
    expect(JSON.parse(stdout).warnings).toEqual([warning]);
  });

  test("--json prints one object", async () => {
    const { stdout } = await run(["generate", "x", "--seed", "18446744073709551615", "--json", "--save-latents", "l.safetensors"]);
    expect(JSON.parse(stdout)).toEqual({
      files: ["halftone-18446744073709551615.png"],
      latentsFile: "l.safetensors",
      seed: "18446744073709551615",
      seconds: 15,
      ...{ loadSeconds: expect.any(Number), quantizeSeconds: 0, stepSeconds: [], weightBytes: {} },
      phases: [{ phase: "denoise", seconds: 14, peakResidentBytes: 2e9 }],
      peakResidentBytes: 2e9,
      recipe: RECIPE,
      warnings: ["the prompt was cut"],
    });
    const latents = readFileSync("l.safetensors");
    expect(latents.subarray(-4).readFloatLE()).toBe(0.5);
    expect(JSON.parse(latents.subarray(8, 8 + Number(latents.readBigUInt64LE())).toString())).toEqual({
      latents: { dtype: "F32", shape: [1, 1, 1, 1], data_offsets: [0, 4] },
    });
  });

  test("--qtype, --include and --exclude mark layers, and a recipe repeats them", async () => {
    const flags = ["--qtype", "transformer=qint4", "--exclude", "proj_out", "--exclude", "*norm*", "--include", "transformer_blocks.*"];
    const wanted = { spec: "transformer=qint4", include: ["transformer_blocks.*"], exclude: ["proj_out", "*norm*"] };
    expect((await run(["generate", "x", ...flags])).asked?.quantization).toEqual(wanted);
    expect((await run(["generate", "x"])).asked?.quantization).toBeUndefined();
    writeFileSync("old.png", encodePng(PIXELS, { ...RECIPE, quantization: wanted }));
    expect((await run(["generate", "--from", "old.png", "--model", "m"])).asked?.quantization).toEqual(wanted);
    const alone = await run(["generate", "x", "--exclude", "proj_out"]);
    expect(alone).toMatchObject({
      code: 2,
      stderr: "error: --exclude says which layers are quantized, but nothing is\nhint:  add --qtype, such as --qtype qint8\n",
    });
  });

  test("--no-metadata leaves the recipe out", async () => {
    await run(["generate", "x", "--no-metadata"]);
    expect(readRecipe(readFileSync("halftone-7.png"))).toBeUndefined();
  });

  test.each([
    [["--output", "."], 'error: "." is a folder, expected the name of a file\nwhere: .\nhint:  add a file name to it\n'],
    [["--output", "new/"], 'error: "new/" is a folder, expected the name of a file\nwhere: new/\nhint:  add a file name to it\n'],
    [
      ["--output", "taken.png"],
      'error: "taken.png" is a folder, expected the name of a file\nwhere: taken.png\nhint:  add a file name to it\n',
    ],
    [["--output", "no/a.png"], 'error: folder "no" does not exist\nwhere: no/a.png\nhint:  make the folder first\n'],
    [["--save-latents", "no/a.safetensors"], 'error: folder "no" does not exist\nwhere: no/a.safetensors\nhint:  make the folder first\n'],
  ])("%j is found out before the work", async (flags, stderr) => {
    mkdirSync("taken.png");
    expect(await run(["generate", "x", ...flags])).toMatchObject({ code: 1, stdout: "", stderr, asked: undefined });
    expect(readdirSync(".")).toEqual(["taken.png"]);
  });

  test("a run that fails or is cancelled leaves old files alone and writes no new ones", async () => {
    writeFileSync("a-1.png", "old");
    const flags = ["generate", "x", "--images", "3", "--output", "a.png", "--save-latents", "l.safetensors"];
    expect(await run(flags, { fail: new CheckpointError("tensor is NaN", { where: "vae" }) })).toMatchObject({ code: 1, disposed: 1 });
    const cancelled = await run(flags, { abortAt: 2 });
    expect(cancelled).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("cancelled: nothing was written\n"),
      disposed: 1,
    });
    expect(readdirSync(".")).toEqual(["a-1.png"]);
    expect(readFileSync("a-1.png", "utf8")).toBe("old");
  });

  test("a defect is said to be one, and --debug shows where", async () => {
    const fail = new TypeError("x is undefined");
    const quiet = await run(["generate", "x"], { fail });
    expect(quiet.stderr).toMatch(/error: x is undefined\nhint: {2}this should not happen: please report it .*--debug\n$/);
    expect((await run(["generate", "x", "--debug"], { fail })).stderr).toContain("generate.test.ts:");
  });
});
