/**
 * One run: encode, denoise, decode, as an async generator of events. What differs between pipelines comes from their PipelineClass.
 */

import { UsageError } from "../errors.ts";
import { imagesFromTensor } from "../image/from-tensor.ts";
import { RgbImage } from "../image/image.ts";
import type { Recipe } from "../image/recipe.ts";
import { resizeAndCrop } from "../image/resize.ts";
import { TorchGenerator } from "../random/torch-generator.ts";
import { memoryUse, resetPeak, totalMemoryBytes } from "../runtime/memory-node.ts";
import type { Sampling, StartOptions } from "../schedulers/scheduler.ts";
import { elementCount, type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { decodeLatents, minimumDecodeBytes } from "./decode.ts";
import type { Phase, PhaseReport, PipelineEvent } from "./events.ts";
import type { PipelineParts } from "./parts.ts";
import type { Denoiser, PipelineClass, WorkSize } from "./pipeline-class.ts";
import type { Request } from "./request.ts";

/** The recipe but for the number of the picture. */
export type RecipeBase = Omit<Recipe, "imageIndex">;

/** Runs a request; the last event is the summary, which also holds the warnings that were given before. */
export async function* run(
  pipeline: PipelineClass,
  parts: PipelineParts,
  request: Request,
  recipe: RecipeBase,
  given: readonly string[] = [],
): AsyncGenerator<PipelineEvent> {
  const started = performance.now();
  const warnings = [...given];
  const phases: PhaseReport[] = [];
  const size = pipeline.workSize(parts, request);
  checkMemory(pipeline, parts, request, size);
  checkLatents(request.latents, latentShape(pipeline, parts, request, size));
  const startOptions = { ...pipeline.startOptions?.(parts, request, size), images: request.numImagesPerPrompt };
  rehearse(parts, request, startOptions);
  const generator = new TorchGenerator(request.seed);

  const conditioning = yield* measured("encode", phases, collectWarnings(pipeline.encode(parts, request), warnings));
  const noise = request.latents ?? generator.randn(latentShape(pipeline, parts, request, size), parts.dtype);
  const sampling = parts.scheduler.start(request.numInferenceSteps, startOptions);
  const openDenoiser = () => pipeline.denoiser(parts, request, size, conditioning);
  const latents = yield* measured("denoise", phases, denoise(openDenoiser, sampling, noise, generator));
  const pictures = decodeLatents(parts, latents, pipeline.latentShift(parts), request.signal, async function* (sample, index) {
    const [pixels] = imagesFromTensor(resizeAndCrop(sample, request.height, request.width));
    if (pixels !== undefined) yield { type: "image", index, image: new RgbImage(pixels, { ...recipe, imageIndex: index }) };
  });
  yield* measured("decode", phases, pictures);

  const peaks = phases.flatMap(({ peakResidentBytes }) => peakResidentBytes ?? []);
  yield {
    type: "summary",
    report: {
      seed: request.seed,
      seconds: (performance.now() - started) / 1000,
      phases,
      peakResidentBytes: peaks.length === 0 ? undefined : Math.max(...peaks),
      latents,
      warnings,
    },
  };
}

/** Refuses what cannot fit whatever is done; what fits is the planner's business. */
function checkMemory(pipeline: PipelineClass, parts: PipelineParts, request: Request, size: WorkSize): void {
  const needed = Math.max(pipeline.minimumActivationBytes(parts, request, size), minimumDecodeBytes(parts, size));
  const there = totalMemoryBytes();
  if (needed <= there) return;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new UsageError(
    `${request.numImagesPerPrompt} x ${size.width} x ${size.height} pixels take at least ${gigabytes(needed)} of memory, ` +
      `and this machine has ${gigabytes(there)}`,
    { hint: "ask for a smaller size or fewer pictures at a time" },
  );
}

/** Takes all steps on a single number: a schedule that the scheduler refuses halfway is refused before the prompt is encoded. */
function rehearse(parts: PipelineParts, request: Request, startOptions: StartOptions): void {
  const sampling = parts.scheduler.start(request.numInferenceSteps, { ...startOptions, images: 1 });
  const one = Float32Array.of(1);
  for (const index of sampling.timesteps.keys()) {
    sampling.scaleModelInput(one, index);
    sampling.step(one, index, one, () => one);
  }
}

function latentShape(pipeline: PipelineClass, parts: PipelineParts, request: Request, size: WorkSize): number[] {
  return [request.numImagesPerPrompt, pipeline.latentChannels(parts), size.latentHeight, size.latentWidth];
}

/** Checks the noise that a caller brings. */
function checkLatents(given: FloatTensor | undefined, shape: readonly number[]): void {
  if (given === undefined) return;
  const got: unknown = given.shape;
  if (!Array.isArray(got) || got.length !== shape.length || got.some((dim, axis) => dim !== shape[axis])) {
    throw new UsageError(`latents have shape [${Array.isArray(got) ? got.join(", ") : ""}], expected [${shape.join(", ")}]`);
  }
  if (!(given.data instanceof Float32Array) || given.data.length !== elementCount(shape)) {
    throw new UsageError(`latents must hold ${elementCount(shape)} numbers in a Float32Array, got ${given.data?.length} values`);
  }
  const wrong = given.data.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw new UsageError(`latents must hold finite numbers, got ${given.data[wrong]} at ${wrong}`);
}

async function* denoise(
  openDenoiser: () => Denoiser,
  sampling: Sampling,
  noise: FloatTensor,
  generator: TorchGenerator,
): AsyncGenerator<PipelineEvent, FloatTensor> {
  const scale = Math.fround(sampling.initNoiseSigma);
  let sample = noise.data.map((value) => value * scale);
  const denoiser = openDenoiser();
  try {
    for (const [index, timestep] of sampling.timesteps.entries()) {
      const started = performance.now();
      const shown = floatTensor(noise.shape, sampling.scaleModelInput(sample, index));
      const prediction = yield* denoiser.predict(shown, timestep, index);
      sample = sampling.step(prediction, index, sample, () => generator.randn(noise.shape).data) as typeof sample;
      const seconds = (performance.now() - started) / 1000;
      const latents = floatTensor(noise.shape, sample);
      yield { type: "step", step: index + 1, steps: sampling.timesteps.length, timestep, seconds, latents };
    }
    return floatTensor(noise.shape, sample);
  } finally {
    await denoiser.dispose();
  }
}

/** Passes a phase's events on and ends it with a report of its time and memory. */
async function* measured<T>(
  phase: Phase,
  reports: PhaseReport[],
  work: AsyncGenerator<PipelineEvent, T>,
): AsyncGenerator<PipelineEvent, T> {
  resetPeak();
  const started = performance.now();
  const result = yield* work;
  const report = { phase, seconds: (performance.now() - started) / 1000, peakResidentBytes: memoryUse().peakResidentBytes };
  reports.push(report);
  yield { type: "phase", report };
  return result;
}

async function* collectWarnings<T>(work: AsyncGenerator<PipelineEvent, T>, warnings: string[]): AsyncGenerator<PipelineEvent, T> {
  try {
    for (;;) {
      const { done, value } = await work.next();
      if (done) return value;
      if (value.type === "warning") warnings.push(value.message);
      yield value;
    }
  } finally {
    await work.return(undefined as T);
  }
}
