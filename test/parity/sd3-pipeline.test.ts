/** StableDiffusion3Pipeline with tiny random parts (reference/sd3_pipelines.py). */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiffusionModel, DiffusionPipeline, type PipelineEvent, quantizeCheckpoint } from "halftone";
import { describe, expect, it, onTestFinished } from "vitest";
import type { SD3Text } from "../../src/models/sd3/model.ts";
import { openPipeline } from "../../src/pipelines/open-pipeline.ts";
import { checkRequest } from "../../src/pipelines/request.ts";
import { stableDiffusion3 } from "../../src/pipelines/stable-diffusion-3.ts";
import { TorchGenerator } from "../../src/random/torch-generator.ts";
import { finish } from "../../src/runtime/executor.ts";
import { caught } from "../support/caught.ts";
import { difference, expectClose } from "../support/compare.ts";
import { type FixtureCase, fixturePath, readFixture } from "../support/fixture.ts";
import { aboutCase, expectAsReference, latentTolerance, modelFolder, requestOf, runCase, wanted } from "../support/pipeline-cases.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const tiny = fixturePath("pipelines/sd3");
const cases = readFixture("pipelines/sd3");
const quick = { seed: 0, height: 32, width: 32, numInferenceSteps: 1, maxSequenceLength: 8 };
const RECOMMENDED =
  "text_encoder_2 is quantized, from which Stable Diffusion 3's pictures suffer more than from the others; " +
  "recommended are text_encoder, text_encoder_3, or both of them";

describe("StableDiffusion3Pipeline with random weights", () => {
  it.each(cases)("$name", async (found) => {
    expectAsReference(found, await runCase(modelFolder(tiny, aboutCase(found)), found));
  });

  it.each(cases)("$name: text, pooled vectors and the first prediction", async (found) => {
    const { text, noise } = await firstPrediction(found);
    const { text: want } = found.outputs;
    if (want !== undefined) {
      expect(text.encoderHiddenStates.shape).toEqual(want.shape);
      expectClose(text.encoderHiddenStates.data, want.values, TOLERANCES.modelRelativeRms, "text");
    }
    expectClose(text.pooledProjections.data, wanted(found, "pooled"), TOLERANCES.modelRelativeRms, "pooled vectors");
    expectClose(noise, wanted(found, "noise_first"), latentTolerance(aboutCase(found)), "first prediction");
  });
});

describe("StableDiffusion3Pipeline with parts that Quanto has quantized", () => {
  it.each(readFixture("pipelines/sd3-quantized"))("$name", async (found) => {
    const about = aboutCase(found);
    const { images, latents, warnings } = await runCase(tiny, found);
    expectClose(latents.data, wanted(found, "final_latents"), latentTolerance(about), "final latents");
    expect(difference(images[0] as Uint8Array, wanted(found, "picture")).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
    expect(warnings).toEqual(about.quantization?.spec.includes("text_encoder_2") ? [RECOMMENDED] : []);
  });
});

/** What the transformer is told, and the guided prediction of the first step. */
async function firstPrediction(found: FixtureCase): Promise<{ text: SD3Text; noise: Float32Array }> {
  const about = aboutCase(found);
  const { parts, own } = await openPipeline(modelFolder(tiny, about), { dtype: found.dtype, threads: 1 });
  try {
    const request = checkRequest(about.options.prompt, requestOf(about), stableDiffusion3, parts);
    const text = await finish(stableDiffusion3.encode(parts, request));
    const size = stableDiffusion3.workSize(parts, request);
    const denoiser = stableDiffusion3.denoiser(parts, request, size, text);
    const shape = [request.numImagesPerPrompt, 16, size.latentHeight, size.latentWidth];
    const latents = new TorchGenerator(request.seed).randn(shape, parts.dtype);
    const noise = await finish(denoiser.predict(latents, wanted(found, "timesteps")[0] as number, 0));
    await denoiser.dispose();
    return { text, noise };
  } finally {
    for (const model of own) await model.dispose();
  }
}

describe("the third text encoder", () => {
  const found = cases.find(({ name }) => name === "without-t5-4") as FixtureCase;

  it("is done without where the caller leaves it out", async () => {
    const { latents } = await runCase(tiny, found, { textEncoder3: null });
    expectClose(latents.data, wanted(found, "final_latents"), TOLERANCES.latentsRelativeRms, "final latents");
  });

  it("is missed where a text is meant for it", async () => {
    const pipeline = await DiffusionPipeline.fromPretrained(tiny, { textEncoder3: null });
    const { report } = await pipeline.generate("a fox", { ...quick, negativePrompt3: "dark" });
    expect(report.warnings).toEqual(["prompt3 and negativePrompt3 have no effect: the pipeline has no text_encoder_3"]);
    await pipeline.dispose();
  });
});

describe("a text encoder on its own", () => {
  it("is brought, quantized and warned of once", async () => {
    const pipeline = await DiffusionPipeline.fromPretrained(tiny, { textEncoder2: null });
    pipeline.textEncoder2 = await DiffusionModel.fromPretrained(tiny, { subfolder: "text_encoder_2" });
    pipeline.quantize("text_encoder_2=qint8");
    const first = await pipeline.generate("a fox", quick);
    const again = await pipeline.generate("a fox", quick);
    expect([first.report.warnings, again.report.warnings]).toEqual([[RECOMMENDED], []]);
    expect(first.images[0]?.recipe.qtypes).toEqual({ text_encoder_2: "qint8" });
    await pipeline.textEncoder2?.dispose();
    await pipeline.dispose();
  });

  it("is quantized on disk with everything else, and gives the picture that it gives when quantized while loading", async () => {
    const output = path.join(mkdtempSync(path.join(tmpdir(), "halftone-sd3-")), "quantized");
    onTestFinished(() => rmSync(path.dirname(output), { recursive: true }));
    const { parts } = await quantizeCheckpoint(tiny, { qtype: "qint8", output });
    expect(parts.map(({ name }) => name)).toEqual(["text_encoder", "text_encoder_2", "text_encoder_3", "transformer"]);
    const [stored, fresh] = [await DiffusionPipeline.fromPretrained(output), await DiffusionPipeline.fromPretrained(tiny)];
    fresh.quantize("qint8");
    const [a, b] = [await stored.generate("a fox", quick), await fresh.generate("a fox", quick)];
    expect(a.images[0]?.data).toEqual(b.images[0]?.data);
    for (const pipeline of [stored, fresh]) await pipeline.dispose();
  });
});

describe("a request to StableDiffusion3Pipeline", () => {
  it.each([
    [{ clipSkip: 3 }, "clipSkip must be less than the 3 layers of the CLIP text encoders, got 3"],
    [{ skipGuidanceLayers: [2] }, "skipGuidanceLayers must be blocks from 0 to 1, got 2"],
    [{ height: 208 }, "latents of 26 x 4 exceed the transformer's position embedding, which covers 24 x 24"],
    [{ width: 40 }, "width must be a multiple of 16, got 40"],
    [{ maxSequenceLength: 513 }, "maxSequenceLength must be a whole number from 1 to 512, got 513"],
    [{ useResolutionBinning: true }, "option useResolutionBinning was given, but a StableDiffusion3Pipeline has no use for it"],
  ])("is refused: %o", async (options, message) => {
    const pipeline = await DiffusionPipeline.fromPretrained(tiny);
    expect((await caught(pipeline.generate("a fox", { ...quick, ...options }))).message).toBe(message);
    await pipeline.dispose();
  });

  it("is warned of text that an encoder does not see, and of guidance that is off", async () => {
    const pipeline = await DiffusionPipeline.fromPretrained(tiny);
    const events: PipelineEvent[] = [];
    const options = { ...quick, guidanceScale: 1, skipGuidanceLayers: [1] };
    for await (const event of pipeline.stream("a fox in the snow", options)) events.push(event);
    const warnings = events.flatMap((event) => (event.type === "warning" ? [event.message] : []));
    expect(warnings[0]).toBe("skipGuidanceLayers has no effect without guidance");
    expect(warnings.slice(1)).toEqual([
      expect.stringMatching(/^the prompt of text_encoder_3 is longer than the 8 tokens that the model sees; cut off: "/),
    ]);
    await pipeline.dispose();
  });
});
