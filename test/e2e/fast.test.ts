/** Fast runs of the embedded checkpoint: how near their pictures are, what is said of them. */
import { DiffusionPipeline, demoModelFolder, type GeneratedImage, type PipelineEvent } from "halftone";
import { describe, expect, it } from "vitest";
import { meanSquaredError, psnrOf } from "../../src/image/similarity.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const PROMPTS = ["a red apple on a blue background", "a castle on a white background"];
const quick = { seed: 0, numInferenceSteps: 2 };

async function opened(spec?: string): Promise<DiffusionPipeline> {
  const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
  if (spec !== undefined) pipeline.quantize(spec);
  return pipeline;
}

async function warningsOf(pipeline: DiffusionPipeline): Promise<string[]> {
  const events: PipelineEvent[] = [];
  for await (const event of pipeline.stream("a fox", { ...quick, fast: true })) events.push(event);
  return events.flatMap((event) => (event.type === "warning" ? [event.message] : []));
}

describe("a fast run", { timeout: 180_000 }, () => {
  it.each(["transformer=qint8", "qint8"])("makes nearly the faithful pictures of %s", async (spec) => {
    const pipeline = await opened(spec);
    const errors: number[] = [];
    for (const [seed, prompt] of PROMPTS.entries()) {
      const [faithful] = (await pipeline.generate(prompt, { seed })).images as [GeneratedImage];
      const [fast] = (await pipeline.generate(prompt, { seed, fast: true })).images as [GeneratedImage];
      errors.push(meanSquaredError(faithful, fast));
      expect(faithful.recipe.fast).toBeUndefined();
      expect(fast.recipe.fast).toBe(true);
    }
    await pipeline.dispose();
    // Nothing is equal: the products are really others.
    expect(Math.min(...errors)).toBeGreaterThan(0);
    expect(psnrOf(Math.max(...errors))).toBeGreaterThan(TOLERANCES.fastPsnr);
  });

  it("leaves what is stored as it is: the next picture is faithful again, to the bit", async () => {
    const pipeline = await opened("qint8");
    const make = async (fast?: boolean) => (await pipeline.generate("a fox", { ...quick, fast })).report.latents.data;
    const before = await make();
    const fast = await make(true);
    expect(await make()).toEqual(before);
    expect(await make(true)).toEqual(fast);
    expect(fast).not.toEqual(before);
    await pipeline.dispose();
  });

  it("makes a picture the same whatever else is in the call, to the bit", async () => {
    const pipeline = await opened("qint8");
    const make = async (numImagesPerPrompt: number) =>
      (await pipeline.generate("a fox", { ...quick, fast: true, numImagesPerPrompt })).report.latents.data;
    const alone = await make(1);
    expect((await make(3)).subarray(0, alone.length)).toEqual(alone);
    await pipeline.dispose();
  });

  it("says once what it does not speed up", async () => {
    const other = await opened("transformer=qint8,transformer:*attn2*=qint4,text_encoder=qfloat8");
    expect(await warningsOf(other)).toEqual([
      "fast speeds up layers stored as qint8 only: text_encoder, whose 14 layers of qfloat8_e4m3fn, are calculated as without it",
      "fast speeds up layers stored as qint8 only: transformer, whose 28 layers of qint4, are calculated as without it",
    ]);
    expect(await warningsOf(other)).toEqual([]);
    await other.dispose();
    const float = await opened();
    expect(await warningsOf(float)).toEqual([
      "fast speeds up layers stored as qint8 only: transformer, whose layers are all in float, is calculated as without it",
    ]);
    await float.dispose();
    const quantized = await opened("transformer=qint8");
    expect(await warningsOf(quantized)).toEqual([]);
    await quantized.dispose();
  });

  it("refuses what is no answer", async () => {
    const pipeline = await opened();
    await expect(pipeline.generate("a fox", { fast: 1 as unknown as boolean })).rejects.toThrow("fast must be true or false, got 1");
    await pipeline.dispose();
  });
});
