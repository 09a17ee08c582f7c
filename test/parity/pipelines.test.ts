import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { decodePng } from "../../src/image/png.ts";
import { difference, expectClose } from "../support/compare.ts";
import { fixturePath, readFixture } from "../support/fixture.ts";
import { aboutCase, latentTolerance, modelFolder, runCase, wanted } from "../support/pipeline-cases.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const tiny = fixturePath("pipelines/tiny");
const demo = path.resolve(import.meta.dirname, "../../models/demo");

describe.each([
  ["PixArtSigmaPipeline", "pipelines/io", undefined],
  ["PixArtAlphaPipeline", "pipelines/alpha", fixturePath("pipelines/alpha")],
])("%s with random weights", async (_, fixture, overlay) => {
  it.each(readFixture(fixture))("$name", async (found) => {
    const about = aboutCase(found);
    const { steps, timesteps, images, latents } = await runCase(modelFolder(tiny, about, overlay), found);
    for (const [step, got] of steps.entries()) {
      const want = found.outputs[`latents_${step + 1}`];
      if (want !== undefined) expectClose(got.data, want.values, latentTolerance(about), `latents after step ${step + 1}`);
    }
    // Cases with quantized parts hold the end alone.
    if (about.quantization === undefined) expect(timesteps).toEqual(Array.from(wanted(found, "timesteps")));
    expectClose(latents.data, wanted(found, "final_latents"), latentTolerance(about), "final latents");
    const pixels = Uint8Array.from(images.flatMap((image) => Array.from(image)));
    expect(difference(pixels, wanted(found, "picture")).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
  });
});

describe("PixArtSigmaPipeline with parts that Quanto has quantized", () => {
  it.each(readFixture("quantized/pipelines"))("$name", async (found) => {
    const about = aboutCase(found);
    const { images, latents } = await runCase(modelFolder(tiny, about), found);
    expectClose(latents.data, wanted(found, "final_latents"), latentTolerance(about), "final latents");
    expect(difference(images[0] as Uint8Array, wanted(found, "picture")).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
  });
});

describe("the demo checkpoint", async () => {
  it.each(readFixture("demo/io"))("$name", async (found) => {
    const about = aboutCase(found);
    const { images, latents } = await runCase(demo, found);
    expectClose(latents.data, wanted(found, "final_latents"), latentTolerance(about), "final latents");
    const want = decodePng(new Uint8Array(readFileSync(fixturePath(`demo/${about.picture}`))));
    expect(difference(images[0] as Uint8Array, want.data).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
  });
});
