import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  CancelledError,
  DiffusionModel,
  DiffusionPipeline,
  demoModelFolder,
  type FloatTensor,
  type GenerateOptions,
  type HalftoneError,
  type PipelineEvent,
  UsageError,
} from "halftone";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { caught } from "../support/caught.ts";
import { DAMAGES, editConfig } from "../support/damages.ts";
import { fixturePath } from "../support/fixture.ts";

const tiny = fixturePath("pipelines/tiny");
const scratch = mkdtempSync(path.join(tmpdir(), "halftone-e2e-"));
const quick: GenerateOptions = { seed: 0, height: 32, width: 32, numInferenceSteps: 2 };

afterAll(() => rmSync(scratch, { recursive: true }));

/** A copy of the tiny pipeline that a test may damage. */
function copyOfTiny(name: string): string {
  const folder = path.join(scratch, name);
  cpSync(tiny, folder, { recursive: true });
  return folder;
}

async function failure(action: () => Promise<unknown>): Promise<HalftoneError> {
  try {
    await action();
  } catch (error) {
    return error as HalftoneError;
  }
  throw new Error("expected a failure");
}

describe("a pipeline", () => {
  let pipeline: DiffusionPipeline;
  beforeAll(async () => {
    pipeline = await DiffusionPipeline.fromPretrained(tiny);
    return () => pipeline.dispose();
  });

  it("tells of every phase, step and picture, in order", async () => {
    const events: PipelineEvent[] = [];
    for await (const event of pipeline.stream("a fox", { ...quick, numImagesPerPrompt: 2 })) events.push(event);
    expect(
      events.filter(({ type }) => type !== "segment").map((event) => (event.type === "phase" ? event.report.phase : event.type)),
    ).toEqual(["encode", "step", "step", "denoise", "image", "image", "decode", "summary"]);
    const steps = events.filter((event) => event.type === "step");
    expect(steps.map(({ step, steps: of, latents }) => [step, of, latents.shape])).toEqual([
      [1, 2, [2, 4, 4, 4]],
      [2, 2, [2, 4, 4, 4]],
    ]);
    const done = events.filter((event) => event.type === "segment" && event.part === "text_encoder");
    expect(done.at(-1)).toMatchObject({ phase: "encode", done: 4, total: 4 });
  });

  it("repeats a picture by its seed, and takes seeds as large as torch's", async () => {
    const first = await pipeline.generate("a fox", { ...quick, seed: 2n ** 63n });
    const again = await pipeline.generate("a fox", { ...quick, seed: 2n ** 63n });
    const other = await pipeline.generate("a fox", { ...quick, seed: 1 });
    expect(again.images[0]?.data).toEqual(first.images[0]?.data);
    expect(other.images[0]?.data).not.toEqual(first.images[0]?.data);
    expect(first.images[0]?.recipe).toMatchObject({
      seed: "9223372036854775808",
      steps: 2,
      model: "tiny",
      pipeline: "PixArtSigmaPipeline",
    });
  });

  it("draws a seed and reports it when none is given", async () => {
    const { report, images } = await pipeline.generate("a fox", { ...quick, seed: undefined });
    const again = await pipeline.generate("a fox", { ...quick, seed: report.seed });
    expect(again.images[0]?.data).toEqual(images[0]?.data);
  });

  it("queues two requests at once and mixes nothing", async () => {
    const alone = await pipeline.generate("a castle", { ...quick, seed: 5 });
    const [fox, castle] = await Promise.all([
      pipeline.generate("a fox", { ...quick, seed: 4 }),
      pipeline.generate("a castle", { ...quick, seed: 5 }),
    ]);
    expect(castle.images[0]?.data).toEqual(alone.images[0]?.data);
    expect(fox.images[0]?.data).not.toEqual(alone.images[0]?.data);
  });

  it.each<[string, unknown, string]>([
    ["too little data", { shape: [1, 4, 4, 4], data: new Float32Array(3) }, "latents must hold 64 numbers in a Float32Array, got 3 values"],
    ["NaN", { shape: [1, 4, 4, 4], data: new Float32Array(64).fill(Number.NaN) }, "latents must hold finite numbers, got NaN at 0"],
    ["a list", [1, 2], "latents have shape [], expected [1, 4, 4, 4]"],
  ])("refuses noise with %s before it encodes", async (_, latents, message) => {
    const seen: string[] = [];
    const error = await failure(async () => {
      for await (const event of pipeline.stream("a fox", { ...quick, latents: latents as FloatTensor })) seen.push(event.type);
    });
    expect([error.message, seen]).toEqual([message, []]);
  });

  it("says in the recipe what else the picture depends on", async () => {
    const { report } = await pipeline.generate("a fox", { ...quick, numInferenceSteps: 1 });
    const { images } = await pipeline.generate("a fox", { ...quick, latents: report.latents, maxSequenceLength: 8 });
    expect(images[0]?.recipe).toMatchObject({ ownLatents: true, maxSequenceLength: 8 });
    const plain = (await pipeline.generate("a fox", quick)).images[0]?.recipe;
    expect([plain?.ownLatents, plain?.maxSequenceLength, plain?.partDTypes]).toEqual([undefined, undefined, undefined]);
  });

  it("refuses options that are none", async () => {
    const error = await failure(() => pipeline.generate("a fox", null as unknown as GenerateOptions));
    expect(error.message).toBe("the options must be an object, got null");
  });

  it("uses the parts that it had when its turn came", async () => {
    const before = await pipeline.generate("a fox", quick);
    const own = pipeline.transformer;
    const other = await DiffusionModel.fromPretrained(tiny, { subfolder: "transformer", dtype: "bfloat16" });
    let picture: Uint8Array | undefined;
    for await (const event of pipeline.stream("a fox", quick)) {
      pipeline.transformer = other;
      if (event.type === "image") picture = event.image.data;
    }
    expect(picture).toEqual(before.images[0]?.data);
    pipeline.transformer = own;
    await other.dispose();
  });

  it("takes the caller's noise, and refuses noise of another shape", async () => {
    const { report } = await pipeline.generate("a fox", { ...quick, numInferenceSteps: 1 });
    await pipeline.generate("a fox", { ...quick, latents: report.latents });
    const wrong = { dtype: "float32", shape: [1, 4, 4, 8], data: new Float32Array(128) } as const;
    const error = await failure(() => pipeline.generate("a fox", { ...quick, latents: wrong }));
    expect(error.message).toBe("latents have shape [1, 4, 4, 8], expected [1, 4, 4, 4]");
  });

  it("warns of a prompt that is too long and shows what was cut", async () => {
    const { report } = await pipeline.generate(`${"a fox on green ".repeat(80)}and a castle`, { ...quick, numInferenceSteps: 1 });
    expect(report.warnings).toHaveLength(1);
    expect(report.warnings[0]).toMatch(/^the prompt is longer than the 300 tokens that the model sees; cut off: ".*and a castle"$/);
  });

  it("stops at the next segment when the signal is raised, and works again afterwards", async () => {
    const controller = new AbortController();
    const seen: string[] = [];
    const error = await failure(async () => {
      for await (const event of pipeline.stream("a fox", { ...quick, numInferenceSteps: 20, signal: controller.signal })) {
        seen.push(event.type);
        if (event.type === "step" && event.step === 2) controller.abort();
      }
    });
    expect(error).toBeInstanceOf(CancelledError);
    expect(seen.filter((type) => type === "step")).toHaveLength(2);
    expect((await pipeline.generate("a fox", quick)).images).toHaveLength(1);
  });

  it("lets a cancelled request leave the queue at once", async () => {
    const running = pipeline.generate("a fox", { ...quick, numInferenceSteps: 20 });
    const error = await failure(() => pipeline.generate("a fox", { ...quick, signal: AbortSignal.abort() }));
    expect(error.message).toBe("stopped on request while waiting for another picture");
    expect((await running).images).toHaveLength(1);
  });

  it("frees the pipeline when the caller leaves the loop early", async () => {
    for await (const event of pipeline.stream("a fox", quick)) if (event.type === "step") break;
    expect((await pipeline.generate("a fox", quick)).images).toHaveLength(1);
  });

  it.each<[string, GenerateOptions | Record<string, unknown>, string]>([
    ["a size that does not fit", { height: 100 }, "height must be a multiple of 16, got 100"],
    ["a fraction of a pixel", { width: 32.5 }, "width must be a whole number of pixels from 16 to 65536, got 32.5"],
    ["a negative size", { width: -16 }, "width must be a whole number of pixels from 16 to 65536, got -16"],
    ["no steps", { numInferenceSteps: 0 }, "numInferenceSteps must be a whole number of at least 1, got 0"],
    ["negative steps", { numInferenceSteps: -5 }, "numInferenceSteps must be a whole number of at least 1, got -5"],
    [
      "more steps than trained",
      { numInferenceSteps: 1001 },
      "numInferenceSteps must be at most 1000, the timesteps that the scheduler was trained with, got 1001",
    ],
    ["no pictures", { numImagesPerPrompt: 0 }, "numImagesPerPrompt must be a whole number from 1 to 10000, got 0"],
    ["guidance that is no number", { guidanceScale: Number.NaN }, "guidanceScale must be a finite number, got NaN"],
    ["too many tokens", { maxSequenceLength: 301 }, "maxSequenceLength must be a whole number from 1 to 300, got 301"],
    ["a negative prompt that is no text", { negativePrompt: 3 }, "negativePrompt must be a string, got 3"],
    ["LoRA", { lora: "x" }, "option lora was given, but LoRA weights are not supported"],
    ["ControlNet", { controlNet: "x" }, "option controlNet was given, but ControlNet is not supported"],
    ["a misspelt option", { numInferenceStep: 3 }, 'there is no option "numInferenceStep"'],
  ])("refuses %s", async (_, options, message) => {
    const error = await failure(() => pipeline.generate("a fox", options as GenerateOptions));
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toBe(message);
  });

  it("refuses a seed that is none", async () => {
    for (const seed of [1.5, Number.NaN, 2n ** 64n]) {
      expect(await caught(pipeline.generate("a fox", { ...quick, seed }))).toEqual({
        kind: "UsageError",
        message: `seed is ${seed}, expected a whole number from -2^63 to 2^64 - 1`,
      });
    }
  });

  it("refuses a size that no memory can hold", async () => {
    const error = await failure(() => pipeline.generate("a fox", { height: 65536, width: 65536 }));
    expect(error.message).toMatch(/^1 x 65536 x 65536 pixels take at least [\d.]+ GB of memory, and this machine has [\d.]+ GB$/);
  });

  it("holds the transformer as it is told to", async () => {
    const own = await DiffusionPipeline.fromPretrained(demoModelFolder, { threads: 2 });
    const programs = async () => {
      let count = 0;
      for await (const event of own.stream("a fox", { ...quick, numInferenceSteps: 1 }))
        if (event.type === "segment" && event.phase === "denoise" && event.done < event.total) count++;
      return count;
    };
    expect(await programs()).toBe(1);
    own.enableSequentialCpuOffload();
    expect(await programs()).toBeGreaterThan(1);
    own.enableModelCpuOffload();
    expect(await programs()).toBe(1);
    await own.dispose();
  });

  it("refuses what does not fit the memory that may be used before it quantizes anything", async () => {
    const own = await DiffusionPipeline.fromPretrained(demoModelFolder, { threads: 2, maxMemory: "210MB" });
    own.quantize("qint8");
    const seen: string[] = [];
    const error = await failure(async () => {
      for await (const event of own.stream("a fox", quick)) seen.push(event.type);
    });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toMatch(/ pixels take 0\.\d\d GB of memory \(\w+\), and of the 0\.21 GB that may be used 0\.01 GB are for that$/);
    expect(seen).toEqual([]);
    expect(own.transformer?.marks.size).toBeGreaterThan(0);
    await own.dispose();
  });

  it("refuses a schedule that divides by zero, before it encodes", async () => {
    const seen: string[] = [];
    const error = await caught(async () => {
      for await (const event of pipeline.stream("a fox", { ...quick, numInferenceSteps: 1000 })) seen.push(event.type);
    });
    expect(error).toEqual({
      kind: "UsageError",
      message:
        "number of inference steps is 1000, with which step 500 of DPMSolverMultistepScheduler divides by zero, " +
        "expected noise levels that fall at every step",
      hint: "ask for fewer steps",
    });
    expect(seen).toEqual([]);
  });

  it("refuses prompts in a list", async () => {
    const error = await failure(() => pipeline.generate(["a fox"] as unknown as string));
    expect(error.message).toBe("the prompt must be a string, got a list");
    expect(error.hint).toBe("call generate() once for each prompt");
  });
});

describe("opening", () => {
  it("works without a transformer, which is then asked for by name", async () => {
    const pipeline = await DiffusionPipeline.fromPretrained(tiny, { transformer: null });
    const error = await failure(() => pipeline.generate("a fox", quick));
    expect(error.message).toBe("the pipeline has no transformer");
    await pipeline.dispose();
  });

  it("refuses a transformer that does not fit the text encoder", async () => {
    const transformer = await DiffusionModel.fromPretrained(demoModelFolder, { subfolder: "transformer" });
    const pipeline = await DiffusionPipeline.fromPretrained(tiny, { transformer });
    const error = await failure(() => pipeline.generate("a fox", quick));
    expect(error.message).toBe("the text_encoder gives vectors of 32 numbers, but the transformer expects 256");
    await pipeline.dispose();
    await transformer.dispose();
  });

  it("refuses a variant that no part has, and lists those there are", async () => {
    const error = await failure(() => DiffusionPipeline.fromPretrained(tiny, { variant: "nope" }));
    expect([error.message, error.hint]).toEqual(['no part of the model has weights of variant "nope"', "leave the variant out"]);
  });

  it("ends a running request before it is disposed of, and waits for that as often as asked", async () => {
    const pipeline = await DiffusionPipeline.fromPretrained(tiny);
    const running = pipeline.generate("a fox", quick);
    await Promise.all([pipeline.dispose(), pipeline.dispose()]);
    expect((await running).images).toHaveLength(1);
  });

  it("tells checkpoints apart by any tensor", async () => {
    const folder = copyOfTiny("changed");
    const file = path.join(folder, "transformer/diffusion_pytorch_model.safetensors");
    const bytes = readFileSync(file);
    const headerBytes = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString()) as Record<string, { data_offsets: [number, number] }>;
    const [begin, end] = header["transformer_blocks.1.attn1.to_k.weight"]?.data_offsets ?? [0, 0];
    bytes.fill(0, 8 + headerBytes + begin, 8 + headerBytes + end);
    writeFileSync(file, bytes);
    const hashes = [];
    for (const model of [tiny, folder]) {
      const pipeline = await DiffusionPipeline.fromPretrained(model);
      hashes.push((await pipeline.generate("a fox", quick)).images[0]?.recipe.modelHash);
      await pipeline.dispose();
    }
    expect(hashes[0]).not.toBe(hashes[1]);
  });

  it("refuses integers where weights belong", async () => {
    const folder = copyOfTiny("integers");
    const file = path.join(folder, "transformer/diffusion_pytorch_model.safetensors");
    const bytes = readFileSync(file);
    const headerBytes = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString()) as Record<string, { dtype: string }>;
    const tensor = header["proj_out.weight"];
    if (tensor === undefined) throw new Error("the fixture has changed");
    tensor.dtype = tensor.dtype === "F32" ? "I32" : "I16";
    const text = JSON.stringify(header).padEnd(headerBytes);
    expect(text).toHaveLength(headerBytes);
    bytes.write(text, 8);
    writeFileSync(file, bytes);
    const error = await failure(() => DiffusionPipeline.fromPretrained(folder));
    expect(error.message).toMatch(/^weight "proj_out.weight" is stored as int(16|32), expected a float dtype$/);
  });

  it("refuses a tokenizer with more tokens than the text encoder knows", async () => {
    const textEncoder = await DiffusionModel.fromPretrained(fixturePath("models/t5"));
    const pipeline = await DiffusionPipeline.fromPretrained(tiny, { textEncoder });
    const error = await failure(() => pipeline.generate("a fox", quick));
    expect(error.message).toMatch(/^the text_encoder gives vectors|^the tokenizer has 384 tokens, but the text_encoder knows 96$/);
    await pipeline.dispose();
    await textEncoder.dispose();
  });

  it("fails after dispose()", async () => {
    const pipeline = await DiffusionPipeline.fromPretrained(tiny);
    await pipeline.dispose();
    await pipeline.dispose();
    const error = await failure(() => pipeline.generate("a fox", quick));
    expect(error.message).toBe("the pipeline has been disposed of: open it again with DiffusionPipeline.fromPretrained");
  });

  it("opens checkpoints from before diffusers 0.30, which call the class Transformer2DModel", async () => {
    const folder = copyOfTiny("old-class-name");
    const index = path.join(folder, "model_index.json");
    writeFileSync(index, readFileSync(index, "utf8").replace("PixArtTransformer2DModel", "Transformer2DModel"));
    editConfig(folder, { _class_name: "Transformer2DModel" });
    const pipeline = await DiffusionPipeline.fromPretrained(folder);
    expect(pipeline.transformer?.className).toBe("PixArtTransformer2DModel");
    await pipeline.dispose();
    editConfig(folder, { norm_type: "layer_norm" });
    const error = await failure(() => DiffusionPipeline.fromPretrained(folder));
    expect(error.message).toBe("transformer is a Transformer2DModel, which halftone does not run");
  });

  it("gives a picture the same hash whoever brought its parts", async () => {
    const whole = await DiffusionPipeline.fromPretrained(tiny);
    const want = (await whole.generate("a fox", quick)).images[0]?.recipe.modelHash;
    const vae = await DiffusionModel.fromPretrained(path.join(tiny, "vae"));
    const brought = await DiffusionPipeline.fromPretrained(tiny, { vae });
    expect((await brought.generate("a fox", quick)).images[0]?.recipe.modelHash).toBe(want);
    for (const one of [whole, brought, vae]) await one.dispose();
  });

  it("reads 120 tokens as PixArt-α, and takes its size from the transformer's config", async () => {
    const folder = copyOfTiny("alpha");
    cpSync(fixturePath("pipelines/alpha"), folder, { recursive: true });
    const pipeline = await DiffusionPipeline.fromPretrained(folder);
    expect([pipeline.className, pipeline.transformer?.className]).toEqual(["PixArtAlphaPipeline", "PixArtTransformer2DModel"]);
    const tokens = await failure(() => pipeline.generate("a fox", { ...quick, maxSequenceLength: 121 }));
    expect(tokens.message).toBe("maxSequenceLength must be a whole number from 1 to 120, got 121");
    const { images } = await pipeline.generate("a fox", { seed: 0, width: 32, numInferenceSteps: 1 });
    expect([images[0]?.width, images[0]?.height, images[0]?.recipe.pipeline]).toEqual([32, 1024, "PixArtAlphaPipeline"]);
    await pipeline.dispose();
  });

  it("refuses size conditions, which this pipeline does not give", async () => {
    const transformer = await DiffusionModel.fromPretrained(fixturePath("models/pixart-alpha"));
    const pipeline = await DiffusionPipeline.fromPretrained(tiny, { transformer });
    const error = await failure(() => pipeline.generate("a fox", quick));
    expect(error.message).toBe(
      "the transformer takes resolution and aspect ratio (use_additional_conditions), which PixArtSigmaPipeline does not give",
    );
    await pipeline.dispose();
    await transformer.dispose();
  });

  it("refuses a part in another's slot, and options it does not know", async () => {
    const vae = await DiffusionModel.fromPretrained(tiny, { subfolder: "vae" });
    const slot = await failure(() => DiffusionPipeline.fromPretrained(tiny, { transformer: vae }));
    expect(slot.message).toBe("the transformer of a PixArtSigmaPipeline is a PixArtTransformer2DModel, got an AutoencoderKL");
    await vae.dispose();
    const option = await failure(() => DiffusionPipeline.fromPretrained(tiny, { dtpye: "float16" } as never));
    expect([option.message, option.hint]).toEqual(['there is no option "dtpye" for opening a pipeline', "did you mean dtype?"]);
  });

  it.each([
    ["transformer", { num_layers: 1e8 }, "transformer config has num_layers = 100000000, expected at most 1000"],
    ["vae", { norm_num_groups: 7 }, "vae config is an object, expected block_out_channels that norm_num_groups divides"],
  ])("refuses a config that no machine or no class could follow: %s", async (part, changes, message) => {
    const folder = copyOfTiny(`config-${part}`);
    const file = path.join(folder, part, "config.json");
    writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, "utf8")) as object), ...changes }));
    const error = await failure(() => DiffusionPipeline.fromPretrained(folder));
    expect(error.message).toBe(message);
  });

  it("refuses an unknown dtype and a thread count that is none", async () => {
    const dtype = await failure(() => DiffusionPipeline.fromPretrained(tiny, { dtype: "flaot16" as "float16" }));
    expect([dtype.message, dtype.hint]).toEqual([
      'dtype must be one of float32, float16, bfloat16, got "flaot16"',
      "did you mean float16?",
    ]);
    const threads = await failure(() => DiffusionPipeline.fromPretrained(tiny, { threads: 0 }));
    expect(threads.message).toBe("threads must be a whole number from 1 to 256, got 0");
  });

  it.each(DAMAGES)("names what is wrong: $name", async ({ name, damage, error }) => {
    const folder = copyOfTiny(name.replaceAll(" ", "-"));
    damage(folder);
    expect(await caught(DiffusionPipeline.fromPretrained(folder))).toEqual(error(folder));
  });

  it("reports tensors that nobody needs, and goes on", async () => {
    const folder = copyOfTiny("extra");
    editConfig(folder, { num_layers: 1 });
    const events: PipelineEvent[] = [];
    const pipeline = await DiffusionPipeline.fromPretrained(folder, { onEvent: (event) => events.push(event) });
    await pipeline.dispose();
    const warning = events.find((event) => event.type === "warning");
    expect(warning?.message).toBe(
      "transformer has tensors that its class does not use: transformer_blocks.1.attn1.to_k.bias, transformer_blocks.1.attn1.to_k.weight, " +
        "transformer_blocks.1.attn1.to_out.0.bias and 18 more",
    );
  });

  it("names the tensor that holds NaN", async () => {
    const folder = copyOfTiny("nan");
    const file = path.join(folder, "transformer/diffusion_pytorch_model.safetensors");
    const bytes = readFileSync(file);
    const headerBytes = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString()) as Record<
      string,
      { dtype: string; data_offsets: [number, number] }
    >;
    const tensor = header["proj_out.bias"];
    if (tensor === undefined) throw new Error("the fixture has changed");
    const begin = 8 + headerBytes + tensor.data_offsets[0];
    if (tensor.dtype === "F32") bytes.writeFloatLE(Number.NaN, begin + 4);
    else bytes.writeUInt16LE(0x7fff, begin + 2);
    writeFileSync(file, bytes);
    const pipeline = await DiffusionPipeline.fromPretrained(folder);
    const error = await failure(() => pipeline.generate("a fox", quick));
    await pipeline.dispose();
    expect(error.message).toBe('transformer calculated a value that is not a finite number: weight "proj_out.bias" holds NaN at 1');
  });

  it("refuses a folder without model_index.json", async () => {
    const folder = path.join(scratch, "no-index");
    mkdirSync(folder);
    writeFileSync(path.join(folder, "readme.txt"), "hello");
    const error = await failure(() => DiffusionPipeline.fromPretrained(folder));
    expect(error.message).toBe('"model_index.json" is missing');
  });
});
