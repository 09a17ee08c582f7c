import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiffusionPipeline, type FloatTensor, type GenerateOptions, type PipelineEvent } from "halftone";
import { afterAll, describe, expect, it } from "vitest";
import { decodePng } from "../../src/image/png.ts";
import { difference, expectClose } from "../support/compare.ts";
import { type FixtureCase, fixturePath, readFixture } from "../support/fixture.ts";
import { TOLERANCES } from "../support/tolerances.ts";

/** What the reference's call was given, by diffusers' names. */
interface ReferenceOptions {
  prompt: string;
  negative_prompt?: string;
  num_inference_steps?: number;
  guidance_scale?: number;
  height?: number;
  width?: number;
  num_images_per_prompt?: number;
  use_resolution_binning?: boolean;
}

interface CaseMeta {
  seed: number;
  drift: number;
  config?: Record<string, Record<string, unknown>>;
  options: ReferenceOptions;
  picture?: string;
  quantization?: { spec: string; exclude?: string };
}

const folders: string[] = [];
const demo = path.resolve(import.meta.dirname, "../../models/demo");

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

describe.each([
  ["PixArtSigmaPipeline", "pipelines/io", undefined],
  ["PixArtAlphaPipeline", "pipelines/alpha", "alpha"],
])("%s with random weights", async (_, fixture, overlay) => {
  it.each(readFixture(fixture))("$name", async (found) => {
    const meta = found.meta as unknown as CaseMeta;
    const { events, latents } = await generate(modelFolder(meta, overlay), found);
    for (const [step, got] of events.steps.entries()) {
      const want = found.outputs[`latents_${step + 1}`];
      if (want !== undefined) expectClose(got.data, want.values, tolerance(meta), `latents after step ${step + 1}`);
    }
    // Cases with quantized parts hold the end alone.
    if (meta.quantization === undefined) expect(events.timesteps).toEqual(Array.from(wanted(found, "timesteps")));
    expectClose(latents.data, wanted(found, "final_latents"), tolerance(meta), "final latents");
    const pixels = Uint8Array.from(events.images.flatMap((image) => Array.from(image)));
    expect(difference(pixels, wanted(found, "picture")).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
  });
});

describe("PixArtSigmaPipeline with parts that Quanto has quantized", () => {
  it.each(readFixture("quantized/pipelines"))("$name", async (found) => {
    const meta = found.meta as unknown as CaseMeta;
    const { events, latents } = await generate(modelFolder(meta), found);
    expectClose(latents.data, wanted(found, "final_latents"), tolerance(meta), "final latents");
    expect(difference(events.images[0] as Uint8Array, wanted(found, "picture")).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
  });
});

describe("the demo checkpoint", async () => {
  it.each(readFixture("demo/io"))("$name", async (found) => {
    const meta = found.meta as unknown as CaseMeta;
    const { events, latents } = await generate(demo, found);
    expectClose(latents.data, wanted(found, "final_latents"), tolerance(meta), "final latents");
    const want = decodePng(new Uint8Array(readFileSync(fixturePath(`demo/${meta.picture}`))));
    expect(difference(events.images[0] as Uint8Array, want.data).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
  });
});

function wanted(found: FixtureCase, output: string): Float32Array {
  return found.outputs[output]?.values as Float32Array;
}

/** The stated tolerance or, where the random net amplifies rounding, a multiple of how far the reference moves by itself. */
function tolerance(meta: CaseMeta): number {
  return Math.max(TOLERANCES.latentsRelativeRms, TOLERANCES.latentsDriftFactor * meta.drift);
}

/** The tiny pipeline, with the files of another over its own and the case's changes to its configs. */
function modelFolder({ config = {} }: CaseMeta, overlay?: string): string {
  const tiny = fixturePath("pipelines/tiny");
  if (overlay === undefined && Object.keys(config).length === 0) return tiny;
  const folder = mkdtempSync(path.join(tmpdir(), "halftone-pipeline-"));
  folders.push(folder);
  cpSync(tiny, folder, { recursive: true });
  if (overlay !== undefined) cpSync(fixturePath(`pipelines/${overlay}`), folder, { recursive: true });
  for (const [part, changes] of Object.entries(config)) {
    const file = path.join(folder, part, part === "scheduler" ? "scheduler_config.json" : "config.json");
    // -Infinity is Python's, not JSON's: the option it stands for is left at its default, which is the same.
    const config = JSON.parse(readFileSync(file, "utf8").replace(/\s*"lambda_min_clipped": -Infinity,/, "")) as object;
    writeFileSync(file, JSON.stringify({ ...config, ...changes }));
    if (typeof changes._class_name === "string") changeClass(folder, part, changes._class_name);
  }
  return folder;
}

function changeClass(folder: string, part: string, className: string): void {
  const file = path.join(folder, "model_index.json");
  const index = JSON.parse(readFileSync(file, "utf8")) as object;
  writeFileSync(file, JSON.stringify({ ...index, [part]: ["diffusers", className] }));
}

async function generate(folder: string, found: FixtureCase) {
  const { seed, options, quantization } = found.meta as unknown as CaseMeta;
  const pipeline = await DiffusionPipeline.fromPretrained(folder, { dtype: found.dtype, threads: 1 });
  if (quantization !== undefined) {
    pipeline.quantize(quantization.spec, quantization.exclude === undefined ? {} : { exclude: [quantization.exclude] });
  }
  const request: GenerateOptions = {
    seed,
    negativePrompt: options.negative_prompt,
    numInferenceSteps: options.num_inference_steps,
    guidanceScale: options.guidance_scale,
    height: options.height,
    width: options.width,
    numImagesPerPrompt: options.num_images_per_prompt,
    useResolutionBinning: options.use_resolution_binning,
  };
  const events = { steps: [] as FloatTensor[], timesteps: [] as number[], images: [] as Uint8Array[] };
  let latents: FloatTensor | undefined;
  try {
    for await (const event of pipeline.stream(options.prompt, request)) latents = collect(event, events) ?? latents;
  } finally {
    await pipeline.dispose();
  }
  return { events, latents: latents as FloatTensor };
}

function collect(event: PipelineEvent, into: Awaited<ReturnType<typeof generate>>["events"]): FloatTensor | undefined {
  if (event.type === "step") {
    into.steps.push(event.latents);
    into.timesteps.push(event.timestep);
  }
  if (event.type === "image") into.images.push(event.image.data);
  return event.type === "summary" ? event.report.latents : undefined;
}
