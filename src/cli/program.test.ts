/** The command line in process: a library of a few lines stands in for models; files, pictures and events are real. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RgbImage } from "../image/image.ts";
import { encodePng } from "../image/png.ts";
import {
  CheckpointError,
  type GenerateOptions,
  type LoadOptions,
  type PipelineEvent,
  type QuantizationRequest,
  type Recipe,
  readRecipe,
  version,
} from "../index.ts";
import { runCommandLine } from "./program.ts";
import { EMBEDDED_MODEL_HASH } from "./request.ts";
import type { Library } from "./surroundings.ts";

const PIXELS = { width: 2, height: 1, data: Uint8Array.of(255, 0, 0, 0, 0, 255) };
const RECIPE: Recipe = {
  prompt: "a red apple",
  negativePrompt: "blurry",
  seed: "18446744073709551615",
  steps: 7,
  guidanceScale: 3,
  height: 32,
  width: 64,
  images: 1,
  imageIndex: 0,
  model: "demo",
  modelHash: EMBEDDED_MODEL_HASH,
  pipeline: "PixArtSigmaPipeline",
  scheduler: "DPMSolverMultistepScheduler",
  dtype: "float16",
  qtypes: {},
  useResolutionBinning: false,
  version,
};

let folder: string;
let start: string;

beforeEach(() => {
  start = process.cwd();
  folder = mkdtempSync(join(tmpdir(), "halftone-cli-"));
  process.chdir(folder);
});
afterEach(() => {
  process.chdir(start);
  rmSync(folder, { recursive: true });
});

interface Asked {
  model: string;
  load: LoadOptions;
  prompt: string;
  generate: GenerateOptions;
  quantization: QuantizationRequest | undefined;
}

/** Runs the command line and collects what it says and asks; the stand-in makes as many pictures as it is asked for. */
async function run(args: readonly string[], change: { fail?: unknown; abortAt?: number; isTTY?: boolean; warning?: string } = {}) {
  const written = { stdout: "", stderr: "" };
  const asked: Asked[] = [];
  let disposed = 0;
  const controller = new AbortController();
  async function* stream(generate: GenerateOptions): AsyncGenerator<PipelineEvent> {
    const images = generate.numImagesPerPrompt ?? 1;
    const seed = generate.seed ?? 7;
    yield { type: "warning", message: change.warning ?? "the prompt was cut" };
    for (let index = 0; index < images; index++) {
      if (index === change.abortAt) controller.abort();
      if (change.fail !== undefined) throw change.fail;
      yield { type: "image", index, image: new RgbImage(PIXELS, { ...RECIPE, seed: String(seed), imageIndex: index, images }) };
    }
    const phases = [{ phase: "denoise", seconds: 14, peakResidentBytes: 2e9 }] as const;
    const latents = { dtype: "float32", shape: [images, 1, 1, 1], data: new Float32Array(images).fill(0.5) } as const;
    yield { type: "summary", report: { seed, seconds: 15, phases, peakResidentBytes: 2e9, latents, warnings: ["the prompt was cut"] } };
  }
  const refuse = () => {
    throw new Error("not asked for here");
  };
  const library: Library = {
    async openPipeline(model, load) {
      let quantization: QuantizationRequest | undefined;
      return {
        transformer: null,
        quantize(spec, patterns) {
          quantization = { spec, ...patterns };
        },
        stream(prompt, generate) {
          asked.push({ model, load, prompt, generate, quantization });
          return stream(generate);
        },
        async dispose() {
          disposed++;
        },
      };
    },
    async inspectModel(model) {
      throw new CheckpointError(`model folder "${model}" does not exist`, { where: model, hint: "look elsewhere" });
    },
    ...{ planModel: refuse, quantizeCheckpoint: refuse, compareQuantization: refuse, runBenchmark: refuse },
    demoModelFolder: "/demo",
  };
  const output = (side: "stdout" | "stderr") => ({
    isTTY: change.isTTY,
    write(text: string) {
      written[side] += text;
      return true;
    },
  });
  const terminal = { stdout: output("stdout"), stderr: output("stderr"), env: {} };
  const code = await runCommandLine(args, { library, terminal, signal: controller.signal });
  return { code, ...written, asked: asked[0], disposed };
}

describe("misuse", () => {
  test.each<[args: string[], message: string, hint?: string]>([
    [["genrate", "x"], 'there is no command "genrate"', "did you mean halftone generate?"],
    [["a red apple"], 'there is no command "a red apple"', 'for a picture: halftone generate "a red apple"'],
    [["generate"], "generate needs a prompt, got none", 'write it in quotes: halftone generate "a red apple"'],
    [
      ["generate", "a", "red", "apple"],
      'generate takes one prompt, got 3: "a", "red", "apple"',
      'put the prompt in quotes: halftone generate "a red apple"',
    ],
    [["generate", "x", "--stesp", "4"], 'there is no option "--stesp"', "did you mean --steps?"],
    [["generate", "x", "--stesp=4"], 'there is no option "--stesp"', "did you mean --steps?"],
    [["generate", "x", "--sampler-name", "y"], 'there is no option "--sampler-name"', "halftone generate --help lists the options"],
    [["generate", "x", "--lora", "a"], "option --lora was given, but LoRA weights are not supported"],
    [["generate", "x", "--controlnet=a"], "option --controlnet was given, but ControlNet is not supported"],
    [["--steps", "4", "generate", "x"], "option --steps stands before its command", "write halftone generate ... --steps ..."],
    [["generate", "x", "--steps"], "--steps needs a value, got none"],
    [["generate", "x", "--output", "--quiet"], "--output needs a value, got the option --quiet"],
    [["generate", "x", "--steps", "0"], '--steps expects a whole number from 1 to 10000, got "0"'],
    [["generate", "x", "--steps", "-5"], '--steps expects a whole number from 1 to 10000, got "-5"'],
    [["generate", "x", "--steps=2.5"], '--steps expects a whole number from 1 to 10000, got "2.5"'],
    [["generate", "x", "--images", "0"], '--images expects a whole number from 1 to 10000, got "0"'],
    [["generate", "x", "--guidance-scale", "NaN"], '--guidance-scale expects a number from 0 to 1000, got "NaN"'],
    [["generate", "x", "--guidance-scale", "1e999"], '--guidance-scale expects a number from 0 to 1000, got "1e999"'],
    [["generate", "x", "--seed", "1.5"], '--seed expects a whole number from -2^63 to 2^64 - 1, got "1.5"'],
    [["generate", "x", "--height", "0x10"], '--height expects a whole number from 1 to 65536, got "0x10"'],
    [["generate", "x", "--width", "9999999"], '--width expects a whole number from 1 to 65536, got "9999999"'],
    [["generate", "x", "--threads", "0"], '--threads expects a whole number from 1 to 256, got "0"'],
    [["generate", "x", "--dtype", "flaot16"], '--dtype expects float32, float16 or bfloat16, got "flaot16"', "did you mean float16?"],
    [["generate", "x", "--model", ""], "--model expects a folder or a Hub id, got an empty text"],
    [["generate", "x", "--output", "a.jpg"], '--output expects a file name that ends in .png, got "a.jpg"'],
    [["generate", "x", "--save-latents", "a.png"], '--save-latents expects a file name that ends in .safetensors, got "a.png"'],
    [["inspect"], "inspect needs a model|picture.png, got none"],
    [
      ["inspect", "a", "b"],
      'inspect takes one model or picture, got 2: "a", "b"',
      'put the model or picture in quotes: halftone inspect "a b"',
    ],
    [["generate", "x", "--max-memory", "much"], '--max-memory expects an amount of memory, got "much"'],
    [["inspect", "a", "--max-memory", "1TB"], '--max-memory expects an amount of memory, got "1TB"'],
    [["inspect", "a", "--steps", "4"], 'there is no option "--steps"'],
  ])("%j", async (args, message, hint) => {
    const { code, stdout, stderr, asked } = await run(args);
    const [first, second] = stderr.split("\n");
    expect(first).toBe(`error: ${message}`);
    if (hint !== undefined) expect(second).toBe(`hint:  ${hint}`);
    expect({ code, stdout, asked }).toEqual({ code: 2, stdout: "", asked: undefined });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("no command prints the help, and where to begin", async () => {
    const { code, stdout, stderr } = await run([]);
    expect(stderr).toContain("Usage: halftone");
    expect(stderr).toContain(
      'error: no command was given\nhint:  for a first picture: halftone generate "a red apple on a blue background"\n',
    );
    expect([code, stdout]).toEqual([2, ""]);
  });

  test("help and version are no misuse", async () => {
    expect(await run(["--version"])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: "" });
    expect(await run(["generate", "--help"])).toMatchObject({ code: 0, stdout: expect.stringContaining("--negative-prompt"), stderr: "" });
    expect(await run(["help", "inspect"])).toMatchObject({ code: 0, stdout: expect.stringContaining("picture.png") });
  });

  test("an option of the library is called by its flag", async () => {
    const { UsageError } = await import("../index.ts");
    const fail = new UsageError("height must be a multiple of 16, got 100", { hint: "the nearest that works is 96" });
    expect(await run(["generate", "x", "--height", "100"], { fail })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("error: --height must be a multiple of 16, got 100\nhint:  the nearest that works is 96\n"),
      disposed: 1,
    });
    const lacking = new UsageError("option prompt2 was given, but a PixArtSigmaPipeline has no use for it");
    expect((await run(["generate", "x", "--prompt-2", "y"], { fail: lacking })).stderr).toContain(
      "error: option --prompt-2 was given, but a",
    );
  });
});

describe("generate", () => {
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
    expect(readdirSync(folder).sort()).toEqual(["halftone--3-1.png", "halftone--3-2.png"]);
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
    expect(readdirSync(folder)).toEqual(["taken.png"]);
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
    expect(readdirSync(folder)).toEqual(["a-1.png"]);
    expect(readFileSync("a-1.png", "utf8")).toBe("old");
  });

  test("a defect is said to be one, and --debug shows where", async () => {
    const fail = new TypeError("x is undefined");
    const quiet = await run(["generate", "x"], { fail });
    expect(quiet.stderr).toMatch(/error: x is undefined\nhint: {2}this should not happen: please report it .*--debug\n$/);
    expect((await run(["generate", "x", "--debug"], { fail })).stderr).toContain("program.test.ts:");
  });
});

describe("--from", () => {
  const save = (change: Partial<Recipe> = {}) => writeFileSync("old.png", encodePng(PIXELS, { ...RECIPE, ...change }));
  const repeat = (change: Partial<Recipe>, ...flags: string[]) => {
    save(change);
    return run(["generate", "--from", "old.png", ...flags]);
  };

  test("repeats a recipe", async () => {
    save({ images: 2, imageIndex: 1 });
    const { code, asked, stderr } = await run(["generate", "--from", "old.png", "--output", "new.png"]);
    expect(asked).toMatchObject({
      prompt: "a red apple",
      model: "/demo",
      load: { dtype: "float16" },
      generate: {
        negativePrompt: "blurry",
        seed: 18446744073709551615n,
        numInferenceSteps: 7,
        guidanceScale: 3,
        height: 32,
        width: 64,
        numImagesPerPrompt: 2,
      },
    });
    expect(code).toBe(0);
    expect(stderr).not.toContain("recipe");
  });

  test("repeats what only some pipelines take, and does without the parts that were absent", async () => {
    const skipLayerGuidance = { layers: [7, 8], scale: 2.8, start: 0.01, stop: 0.2 };
    save({ prompt2: "b", negativePrompt3: "d", clipSkip: 1, skipLayerGuidance, absentParts: ["text_encoder_3"] });
    const { asked } = await run(["generate", "--from", "old.png"]);
    expect(asked?.load).toHaveProperty("textEncoder3", null);
    expect(asked?.generate).toMatchObject({
      prompt2: "b",
      negativePrompt3: "d",
      clipSkip: 1,
      skipGuidanceLayers: [7, 8],
      skipLayerGuidanceScale: 2.8,
      skipLayerGuidanceStop: 0.2,
    });
    expect((await run(["generate", "--from", "old.png", "--model", "other/name"])).asked?.load).not.toHaveProperty("textEncoder3");
  });

  test("flags win, and a model's revision goes with the model", async () => {
    save({ model: "owner/name", revision: "abc", variant: "fp16" });
    expect((await run(["generate", "--from", "old.png"])).asked).toMatchObject({
      model: "owner/name",
      load: { revision: "abc", variant: "fp16" },
    });
    const { asked } = await run(["generate", "a pear", "--from", "old.png", "--model", "other/name", "--steps", "3", "--seed", "0"]);
    expect(asked).toMatchObject({ prompt: "a pear", model: "other/name", generate: { seed: 0, numInferenceSteps: 3, guidanceScale: 3 } });
    expect([asked?.load.revision, asked?.load.variant]).toEqual([undefined, undefined]);
  });

  test("warns when the model, the version or the quantization is another", async () => {
    save({ modelHash: "other", version: "0.0.1\u001b]0;owned\u0007", qtypes: { transformer: "qint8" } });
    const { stderr } = await run(["generate", "--from", "old.png"]);
    expect(stderr.split("\n").slice(0, 4)).toEqual([
      `warning: the recipe is of halftone 0.0.1\\u001b]0;owned\\u0007, this is ${version}: the picture may differ`,
      'warning: the recipe\'s model "demo" is not the embedded one, which is used: the picture may differ; give a folder of yours with --model',
      "warning: the prompt was cut",
      "warning: the recipe was made with transformer in qint8, this run without quantization: the picture will differ",
    ]);
    save({ model: "owner/name", modelHash: "other" });
    expect((await run(["generate", "--from", "old.png"])).stderr).toContain(
      "warning: model demo is not owner/name of the recipe: the picture may differ from the recipe's\n",
    );
  });

  test("the embedded model is known by its hash, not by its name", async () => {
    const own = 'the recipe\'s model "demo"';
    const { asked, stderr } = await repeat({ modelHash: "other" });
    expect({ model: asked?.model, said: stderr.includes(own) }).toEqual({ model: "/demo", said: true });
    // A folder of any content is not a model.
    mkdirSync("demo");
    expect((await repeat({ modelHash: "other" })).asked?.model).toBe("/demo");
    writeFileSync(join("demo", "model_index.json"), "{}");
    const mine = await repeat({ modelHash: "other" });
    expect({ model: mine.asked?.model, said: mine.stderr.includes(own) }).toEqual({ model: "demo", said: false });
    expect((await repeat({})).asked?.model).toBe("/demo");
    const given = await repeat({ modelHash: "other" }, "--model", "elsewhere");
    expect({ model: given.asked?.model, said: given.stderr.includes(own) }).toEqual({ model: "elsewhere", said: false });
  });

  test("more pictures than a flag can ask for are refused at once", async () => {
    const began = performance.now();
    save({ images: 1e12 });
    expect(await run(["generate", "--from", "old.png", "--images", "1"])).toMatchObject({
      code: 1,
      stderr:
        'error: the recipe in the picture has a wrong "images": expected a whole number from 1 to 10000, got 1000000000000\nwhere: old.png\n',
      asked: undefined,
    });
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test.each<[string, () => void, string]>([
    ["a file that is not there", () => {}, 'error: picture "old.png" does not exist\nwhere: old.png\n'],
    ["a folder", () => mkdirSync("old.png"), 'error: "old.png" is a folder, expected a PNG picture\nwhere: old.png\n'],
    ["a text", () => writeFileSync("old.png", "hello"), "error: the file is not a PNG picture\nwhere: old.png\n"],
    [
      "a picture without a recipe",
      () => writeFileSync("old.png", encodePng(PIXELS)),
      'error: the picture "old.png" carries no recipe\nwhere: old.png\nhint:  it was made by another program',
    ],
  ])("%s is refused", async (_, prepare, stderr) => {
    prepare();
    for (const command of [
      ["generate", "--from", "old.png"],
      ["inspect", "old.png"],
    ]) {
      // An existing folder may be a model, whatever its name.
      if (command[0] === "inspect" && stderr.includes("is a folder")) continue;
      expect(await run(command)).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining(stderr), asked: undefined });
    }
  });

  test("a model folder that is not here is asked for", async () => {
    save({ model: "my-model" });
    expect(await run(["generate", "--from", "old.png"])).toMatchObject({
      code: 2,
      stderr:
        'error: the recipe names the model folder "my-model", which is not here\nwhere: old.png\nhint:  say where it is with --model\n',
    });
  });
});

describe("inspect", () => {
  test("prints a recipe, and cannot be made to steer the terminal", async () => {
    writeFileSync("old.png", encodePng(PIXELS, { ...RECIPE, prompt: "a\u001b[2Jb\nc 苹果" }));
    const { code, stdout } = await run(["inspect", "old.png"]);
    expect(code).toBe(0);
    expect(stdout.split("\n").slice(0, 6)).toEqual([
      "prompt           a\\u001b[2Jb\\nc 苹果",
      "negative prompt  blurry",
      "seed             18446744073709551615",
      "steps            7",
      "guidance scale   3",
      "size             64x32",
    ]);
    expect(JSON.parse((await run(["inspect", "old.png", "--json"])).stdout)).toEqual({ ...RECIPE, prompt: "a\u001b[2Jb\nc 苹果" });
  });

  test("an error says where, and what to do", async () => {
    expect(await run(["inspect", "nope"])).toMatchObject({
      code: 1,
      stdout: "",
      stderr: 'error: model folder "nope" does not exist\nwhere: nope\nhint:  look elsewhere\n',
    });
  });
});
