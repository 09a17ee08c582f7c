/** AuraFlowPipeline with tiny random parts (reference/auraflow_pipelines.py). */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiffusionModel, DiffusionPipeline, inspectModel, type PipelineEvent, quantizeCheckpoint } from "halftone";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { auraFlow } from "../../src/pipelines/auraflow.ts";
import { openPipeline } from "../../src/pipelines/open-pipeline.ts";
import { checkRequest } from "../../src/pipelines/request.ts";
import { TorchGenerator } from "../../src/random/torch-generator.ts";
import { finish } from "../../src/runtime/executor.ts";
import type { FloatTensor } from "../../src/tensor/tensor.ts";
import { caught } from "../support/caught.ts";
import { difference, expectClose } from "../support/compare.ts";
import { type FixtureCase, fixturePath, readFixture } from "../support/fixture.ts";
import { aboutCase, expectAsReference, latentTolerance, modelFolder, requestOf, runCase, wanted } from "../support/pipeline-cases.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const tiny = fixturePath("pipelines/auraflow");
const cases = readFixture("pipelines/auraflow");
const quick = { seed: 0, height: 32, width: 32, numInferenceSteps: 2, maxSequenceLength: 8 };

describe("AuraFlowPipeline with random weights", () => {
  it.each(cases)("$name", async (found) => {
    expectAsReference(found, await runCase(modelFolder(tiny, aboutCase(found)), found));
  });

  it.each(cases)("$name: text and the first prediction", async (found) => {
    const { text, noise } = await firstPrediction(found);
    const { text: want } = found.outputs;
    if (want !== undefined) {
      expect(text.shape).toEqual(want.shape);
      expectClose(text.data, want.values, TOLERANCES.modelRelativeRms, "text");
    }
    expectClose(noise, wanted(found, "noise_first"), latentTolerance(aboutCase(found)), "first prediction");
  });

  it("says what of a prompt does not fit", async () => {
    const found = cases.find(({ name }) => name === "cut-prompt-2") as FixtureCase;
    const { warnings } = await runCase(tiny, found);
    expect(warnings).toEqual([
      expect.stringMatching(/^the prompt is longer than the 12 tokens that the model sees; cut off: ".+ a robot and"$/),
    ]);
  });
});

describe("AuraFlowPipeline with parts that Quanto has quantized", () => {
  it.each(readFixture("pipelines/auraflow-quantized"))("$name", async (found) => {
    const { images, latents } = await runCase(tiny, found);
    expectClose(latents.data, wanted(found, "final_latents"), latentTolerance(aboutCase(found)), "final latents");
    expect(difference(images[0] as Uint8Array, wanted(found, "picture")).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
  });
});

/** What the transformer is told, and the guided prediction of the first step. */
async function firstPrediction(found: FixtureCase): Promise<{ text: FloatTensor; noise: Float32Array }> {
  const about = aboutCase(found);
  const { parts, own } = await openPipeline(modelFolder(tiny, about), { dtype: found.dtype, threads: 1 });
  try {
    const request = checkRequest(about.options.prompt, requestOf(about), auraFlow, parts);
    const text = (await finish(auraFlow.encode(parts, request))) as FloatTensor;
    const size = auraFlow.workSize(parts, request);
    const denoiser = auraFlow.denoiser(parts, request, size, text);
    const shape = [request.numImagesPerPrompt, 4, size.latentHeight, size.latentWidth];
    const latents = new TorchGenerator(request.seed).randn(shape, parts.dtype);
    const noise = await finish(denoiser.predict(latents, wanted(found, "timesteps")[0] as number, 0));
    await denoiser.dispose();
    return { text, noise };
  } finally {
    for (const model of own) await model.dispose();
  }
}

describe("an AuraFlowPipeline", () => {
  let pipeline: DiffusionPipeline;
  beforeEach(async () => {
    pipeline = await DiffusionPipeline.fromPretrained(tiny);
  });
  afterEach(() => pipeline.dispose());

  it.each([undefined, "qint8", "qint4"])("makes the same picture with fused projections, %s", async (qtype) => {
    if (qtype !== undefined) pipeline.quantize(`transformer=${qtype}`);
    const apart = await pipeline.generate("a fox", quick);
    pipeline.transformer?.fuseQkvProjections();
    const fused = await pipeline.generate("a fox", quick);
    expectClose(fused.report.latents.data, apart.report.latents.data, 1e-6, "latents");
    pipeline.transformer?.unfuseQkvProjections();
    expect((await pipeline.generate("a fox", quick)).report.latents.data).toEqual(apart.report.latents.data);
  });

  it("tells of its segments and steps, and can be left early", async () => {
    const events: PipelineEvent[] = [];
    for await (const event of pipeline.stream("a fox", quick)) events.push(event);
    const totals = events.flatMap((event) => (event.type === "segment" ? [[event.part, event.total] as const] : []));
    // Embedding, blocks (joint and single ones) and head of each.
    expect(Object.fromEntries(totals)).toEqual({ text_encoder: 4, transformer: 5, vae: expect.any(Number) });
    expect(events.filter((event) => event.type === "step")).toHaveLength(2);
    for await (const event of pipeline.stream("a fox", quick)) if (event.type === "step") break;
    expect((await pipeline.generate("a fox", quick)).images).toHaveLength(1);
  });

  it("is 50 steps at guidance 3.5 for 1024 pixels, unless asked otherwise", async () => {
    const { parts, own } = await openPipeline(tiny, {});
    expect(auraFlow.defaults(parts)).toMatchObject({ numInferenceSteps: 50, guidanceScale: 3.5, maxSequenceLength: 256, size: 1024 });
    for (const model of own) await model.dispose();
  });

  it.each([
    [{ height: 208 }, "the latents of 26 x 4 have 13 x 2 patches, and the transformer has positions for 12 x 12"],
    [{ width: 40 }, "width must be a multiple of 16, got 40"],
    [{ maxSequenceLength: 257 }, "maxSequenceLength must be a whole number from 1 to 256, got 257"],
    [{ useResolutionBinning: true }, "option useResolutionBinning was given, but an AuraFlowPipeline has no use for it"],
    [{ prompt2: "a castle" }, "option prompt2 was given, but an AuraFlowPipeline has no use for it"],
  ])("refuses a request: %o", async (options, message) => {
    expect((await caught(pipeline.generate("a fox", { ...quick, ...options }))).message).toBe(message);
  });

  it.each([
    ["scheduler", { _class_name: "DDIMScheduler" }, "the scheduler is a DDIMScheduler, which an AuraFlowPipeline does not work with"],
    ["text_encoder", { vocab_size: 100 }, /^text_encoder weight "shared.weight" has shape/],
  ] as const)("refuses a %s of another kind", async (part, changes, message) => {
    const folder = modelFolder(tiny, { seed: 0, drift: 0, options: { prompt: "" }, config: { [part]: changes } });
    expect((await caught(DiffusionPipeline.fromPretrained(folder))).message).toMatch(message);
  });

  it("refuses an encoder of another width", async () => {
    const other = await DiffusionModel.fromPretrained(fixturePath("models/umt5"));
    pipeline.textEncoder = other;
    const error = await caught(pipeline.generate("a fox", quick));
    expect(error.message).toBe("the text_encoder gives vectors of 136 numbers, but the transformer expects 24");
    await other.dispose();
  });
});

describe("an AuraFlow pipeline's folder", () => {
  const workFolder = () => {
    const folder = mkdtempSync(path.join(tmpdir(), "halftone-auraflow-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    return folder;
  };

  it("is quantized on disk as a whole, and gives the picture that it gives when quantized while loading", async () => {
    const output = path.join(workFolder(), "quantized");
    const { parts } = await quantizeCheckpoint(tiny, { qtype: "text_encoder=qint8,transformer=qint4", output });
    expect(parts.map(({ name }) => name)).toEqual(["text_encoder", "transformer"]);
    const [stored, fresh] = [await DiffusionPipeline.fromPretrained(output), await DiffusionPipeline.fromPretrained(tiny)];
    fresh.quantize("text_encoder=qint8,transformer=qint4");
    const [a, b] = [await stored.generate("a fox", quick), await fresh.generate("a fox", quick)];
    expect(a.images[0]?.data).toEqual(b.images[0]?.data);
    expect(a.images[0]?.recipe).toMatchObject({ pipeline: "AuraFlowPipeline", qtypes: { text_encoder: "qint8", transformer: "qint4" } });
    for (const pipeline of [stored, fresh]) await pipeline.dispose();
  });

  it("gives a part that is quantized, saved and brought back", async () => {
    const output = path.join(workFolder(), "transformer");
    const made = await DiffusionPipeline.fromPretrained(tiny);
    made.quantize("transformer=qint8");
    const { images: want } = await made.generate("a fox", quick);
    await made.transformer?.savePretrained(output);
    await made.dispose();
    const transformer = await DiffusionModel.fromPretrained(output);
    const again = await DiffusionPipeline.fromPretrained(tiny, { transformer });
    const { images: got } = await again.generate("a fox", quick);
    expect(got[0]?.data).toEqual(want[0]?.data);
    await again.dispose();
    await transformer.dispose();
  });

  it("is described from its headers", async () => {
    const { className, parts } = await inspectModel(tiny);
    expect(className).toBe("AuraFlowPipeline");
    expect(Object.fromEntries(parts.map((part) => [part.name, [part.className, part.isSupported]]))).toEqual({
      scheduler: ["FlowMatchEulerDiscreteScheduler", undefined],
      text_encoder: ["UMT5EncoderModel", true],
      tokenizer: ["LlamaTokenizerFast", undefined],
      transformer: ["AuraFlowTransformer2DModel", true],
      vae: ["AutoencoderKL", true],
    });
  });
});
