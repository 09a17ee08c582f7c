/** Parts and options that only some classes have, tried with a class of the tests' own: PixArt-Σ with a second and a third text encoder. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { FakeHub } from "../../test/support/fake-hub.ts";
import { fixturePath } from "../../test/support/fixture.ts";
import { DiffusionModel } from "./diffusion-model.ts";
import { quantizeCheckpoint } from "./quantize-checkpoint.ts";

vi.mock("./registry.ts", async () => {
  const { pixArtSigma } = await vi.importActual<{ pixArtSigma: PipelineClass }>("./pixart.ts");
  const threeEncoders: PipelineClass = {
    ...pixArtSigma,
    className: "ThreeEncoders",
    models: {
      ...pixArtSigma.models,
      text_encoder_2: { className: "T5EncoderModel" },
      text_encoder_3: { className: "T5EncoderModel", isOptional: true },
    },
    tokenizers: { ...pixArtSigma.tokenizers, tokenizer_3: "text_encoder_3" },
    options: ["prompt2", "negativePrompt2", "clipSkip", "skipGuidanceLayers", "skipLayerGuidanceScale"],
    checkRequest(_parts, { clipSkip }) {
      if (clipSkip > 2) throw new UsageError(`clipSkip must be at most 2, got ${clipSkip}`);
    },
    warnings: ({ models }) => (models.get("text_encoder_2")?.marks.size ? ["the second text encoder is better left float"] : []),
  };
  const classes: Record<string, PipelineClass> = { ThreeEncoders: threeEncoders, PixArtSigmaPipeline: pixArtSigma };
  return { findPipelineClass: (name: string) => classes[name] };
});

import { UsageError } from "../errors.ts";
import { DiffusionPipeline } from "./pipeline.ts";
import type { PipelineClass } from "./pipeline-class.ts";

const tiny = fixturePath("pipelines/tiny");
const scratch = mkdtempSync(path.join(tmpdir(), "halftone-parts-"));
const quick = { seed: 0, height: 32, width: 32, numInferenceSteps: 1 };
const T5 = ["transformers", "T5EncoderModel"];

afterAll(() => rmSync(scratch, { recursive: true }));

/** The tiny pipeline as a ThreeEncoders; the third encoder's folders are there only if asked for. */
function threeEncoders(name: string, third: "there" | "null" | "unlisted"): string {
  const folder = path.join(scratch, name);
  cpSync(tiny, folder, { recursive: true });
  cpSync(path.join(tiny, "text_encoder"), path.join(folder, "text_encoder_2"), { recursive: true });
  const index = JSON.parse(readFileSync(path.join(folder, "model_index.json"), "utf8")) as Record<string, unknown>;
  index._class_name = "ThreeEncoders";
  index.text_encoder_2 = T5;
  if (third === "null") Object.assign(index, { text_encoder_3: [null, null], tokenizer_3: [null, null] });
  if (third === "there") {
    Object.assign(index, { text_encoder_3: T5, tokenizer_3: ["transformers", "T5Tokenizer"] });
    cpSync(path.join(tiny, "text_encoder"), path.join(folder, "text_encoder_3"), { recursive: true });
    cpSync(path.join(tiny, "tokenizer"), path.join(folder, "tokenizer_3"), { recursive: true });
  }
  writeFileSync(path.join(folder, "model_index.json"), JSON.stringify(index));
  return folder;
}

const whole = threeEncoders("whole", "there");

describe("an optional part", () => {
  it.each(["null", "unlisted"] as const)("that model_index.json has as %s is done without", async (third) => {
    const pipeline = await DiffusionPipeline.fromPretrained(threeEncoders(third, third));
    expect(pipeline.textEncoder3).toBeNull();
    const { images } = await pipeline.generate("a fox", quick);
    expect(images[0]?.recipe).toMatchObject({ pipeline: "ThreeEncoders", absentParts: ["text_encoder_3"] });
    await pipeline.dispose();
  });

  it("that the caller leaves out is not opened, nor is its tokenizer", async () => {
    const folder = threeEncoders("left-out", "there");
    for (const part of ["text_encoder_3", "tokenizer_3"]) rmSync(path.join(folder, part), { recursive: true });
    const pipeline = await DiffusionPipeline.fromPretrained(folder, { textEncoder3: null });
    expect((await pipeline.generate("a fox", quick)).images).toHaveLength(1);
    await pipeline.dispose();
    expect(await caught(DiffusionPipeline.fromPretrained(folder))).toMatchObject({ message: '"config.json" is missing' });
  });

  it("that the caller leaves out is not fetched from the Hub", async () => {
    const paths = readdirSync(whole, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const files = paths
      .map(({ parentPath, name }) => path.join(parentPath, name))
      .map((file) => [path.relative(whole, file), readFileSync(file)]);
    const commit = "a".repeat(40);
    const hub = await new FakeHub({ "maker/model": { commits: { [commit]: Object.fromEntries(files) }, refs: { main: commit } } }).listen();
    vi.stubEnv("HF_ENDPOINT", hub.endpoint);
    vi.stubEnv("HF_HUB_OFFLINE", "0");
    const cacheDir = path.join(scratch, "cache");
    const pipeline = await DiffusionPipeline.fromPretrained("maker/model", { cacheDir, textEncoder3: null }).finally(() => hub.close());
    vi.unstubAllEnvs();
    await pipeline.dispose();
    expect(readdirSync(path.join(cacheDir, "models--maker--model/snapshots", commit)).sort()).toEqual([
      "model_index.json",
      "scheduler",
      "text_encoder",
      "text_encoder_2",
      "tokenizer",
      "transformer",
      "vae",
    ]);
  });

  it("that the caller brings is used, with the checkpoint's tokenizer", async () => {
    const textEncoder3 = await DiffusionModel.fromPretrained(whole, { subfolder: "text_encoder_3" });
    const pipeline = await DiffusionPipeline.fromPretrained(whole, { textEncoder3 });
    expect(pipeline.textEncoder3).toBe(textEncoder3);
    expect((await pipeline.generate("a fox", quick)).images[0]?.recipe.absentParts).toBeUndefined();
    for (const one of [pipeline, textEncoder3]) await one.dispose();
  });
});

describe("a part that is not optional", () => {
  it("is missed by its name", async () => {
    const folder = threeEncoders("without-second", "null");
    const index = path.join(folder, "model_index.json");
    writeFileSync(
      index,
      readFileSync(index, "utf8").replace('"text_encoder_2":["transformers","T5EncoderModel"]', '"text_encoder_2":[null,null]'),
    );
    expect(await caught(DiffusionPipeline.fromPretrained(folder))).toMatchObject({
      kind: "CheckpointError",
      message: "the model has no text_encoder_2",
      hint: "bring one: { textEncoder2: … }",
    });
  });

  it("of another class is refused in its slot", async () => {
    const vae = await DiffusionModel.fromPretrained(whole, { subfolder: "vae" });
    const pipeline = await DiffusionPipeline.fromPretrained(whole);
    pipeline.textEncoder2 = vae;
    const error = await caught(pipeline.generate("a fox", quick));
    expect(error.message).toBe("the text_encoder_2 of a ThreeEncoders is a T5EncoderModel, got an AutoencoderKL");
    for (const one of [pipeline, vae]) await one.dispose();
  });
});

describe("a class without a part", () => {
  it("refuses it while opening, and as a property", async () => {
    expect(await caught(DiffusionPipeline.fromPretrained(tiny, { textEncoder2: null }))).toEqual({
      kind: "UsageError",
      message: "option textEncoder2 was given, but a PixArtSigmaPipeline has no text_encoder_2",
    });
    const pipeline = await DiffusionPipeline.fromPretrained(tiny);
    const expected = { kind: "UsageError", message: "a PixArtSigmaPipeline has no text_encoder_3" };
    expect(await caught(() => pipeline.textEncoder3)).toEqual(expected);
    expect(
      await caught(() => {
        pipeline.textEncoder3 = null;
      }),
    ).toEqual(expected);
    await pipeline.dispose();
  });

  it("refuses options of other classes by name, but not what every recipe says", async () => {
    const pipeline = await DiffusionPipeline.fromPretrained(tiny);
    const refused = { kind: "UsageError", message: "option prompt2 was given, but a PixArtSigmaPipeline has no use for it" };
    expect(await caught(pipeline.generate("a fox", { ...quick, prompt2: "a castle" }))).toEqual(refused);
    await pipeline.dispose();
    const other = await DiffusionPipeline.fromPretrained(whole);
    expect((await other.generate("a fox", { ...quick, useResolutionBinning: false })).images).toHaveLength(1);
    expect(await caught(other.generate("a fox", { ...quick, useResolutionBinning: true }))).toMatchObject({
      message: "option useResolutionBinning was given, but a ThreeEncoders has no use for it",
    });
    await other.dispose();
  });

  it("refuses schedulers of the other kind", async () => {
    const folder = threeEncoders("flow", "null");
    const index = path.join(folder, "model_index.json");
    writeFileSync(index, readFileSync(index, "utf8").replace("DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"));
    expect(await caught(DiffusionPipeline.fromPretrained(folder))).toEqual({
      kind: "UnsupportedError",
      message: "the scheduler is a FlowMatchEulerDiscreteScheduler, which a ThreeEncoders does not work with",
      where: `${folder}/model_index.json`,
      hint: "it works with DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler",
    });
  });
});

describe("options of a class", () => {
  it("stand in the recipe where they change the picture", async () => {
    const pipeline = await DiffusionPipeline.fromPretrained(whole);
    const options = { ...quick, prompt2: "", negativePrompt2: "dark", clipSkip: 1, skipGuidanceLayers: [0], skipLayerGuidanceScale: 2 };
    const recipe = (await pipeline.generate("a fox", options)).images[0]?.recipe;
    expect(recipe).toMatchObject({
      negativePrompt2: "dark",
      clipSkip: 1,
      skipLayerGuidance: { layers: [0], scale: 2, start: 0.01, stop: 0.2 },
    });
    expect([recipe?.prompt2, recipe?.prompt3, recipe?.negativePrompt3]).toEqual([undefined, undefined, undefined]);
    await pipeline.dispose();
  });

  it.each([
    [{ clipSkip: 3 }, "clipSkip must be at most 2, got 3"],
    [{ clipSkip: -1 }, "clipSkip must be a whole number from 0 to 1000, got -1"],
    [{ prompt2: 3 as never }, "prompt2 must be a string, got 3"],
    [{ skipGuidanceLayers: [0.5] }, "skipGuidanceLayers must be a whole number from 0 to 1000, got 0.5"],
    [{ skipLayerGuidanceScale: 2 }, "option skipLayerGuidanceScale was given, but no skipGuidanceLayers"],
  ])("are checked: %o", async (options, message) => {
    const pipeline = await DiffusionPipeline.fromPretrained(whole);
    expect((await caught(pipeline.generate("a fox", { ...quick, ...options }))).message).toBe(message);
    await pipeline.dispose();
  });
});

describe("several text encoders", () => {
  it("are quantized one by one or all together, and the class's warning is given once", async () => {
    const pipeline = await DiffusionPipeline.fromPretrained(whole);
    pipeline.quantize("text_encoder_[23]=qint8");
    expect([pipeline.textEncoder?.marks.size, pipeline.textEncoder2?.marks.size, pipeline.textEncoder3?.marks.size]).toEqual([0, 14, 14]);
    const first = await pipeline.generate("a fox", quick);
    const again = await pipeline.generate("a fox", quick);
    expect([first.report.warnings, again.report.warnings]).toEqual([["the second text encoder is better left float"], []]);
    expect(first.images[0]?.recipe.qtypes).toEqual({ text_encoder_2: "qint8", text_encoder_3: "qint8" });
    await pipeline.dispose();

    const all = await DiffusionPipeline.fromPretrained(whole, { textEncoder3: null });
    all.quantize("qint8");
    const marked = [all.transformer, all.textEncoder, all.textEncoder2, all.vae].map((part) => (part?.marks.size ?? 0) > 0);
    expect(marked).toEqual([true, true, true, false]);
    await all.dispose();
  });

  it("are all quantized on disk, and parts that are null stay null", async () => {
    const output = path.join(scratch, "quantized");
    const { parts } = await quantizeCheckpoint(threeEncoders("to-quantize", "null"), { qtype: "text_encoder*=qint8", output });
    expect(parts.map(({ name }) => name)).toEqual(["text_encoder", "text_encoder_2"]);
    const pipeline = await DiffusionPipeline.fromPretrained(output);
    expect([pipeline.textEncoder2?.qtypes.size, pipeline.textEncoder3]).toEqual([14, null]);
    await pipeline.dispose();
  });
});
