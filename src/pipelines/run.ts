/**
 * One run: encode, denoise, decode, as an async generator of events. What differs between pipelines comes from their PipelineClass.
 */

import { UsageError } from "../errors.ts";
import { imagesFromTensor } from "../image/from-tensor.ts";
import { RgbImage } from "../image/image.ts";
import type { Recipe } from "../image/recipe.ts";
import { resizeAndCrop } from "../image/resize.ts";
import { TorchGenerator } from "../random/torch-generator.ts";
import { freeMemoryBytes } from "../runtime/memory-budget-node.ts";
import { collectGarbage, memoryUse, resetPeak, totalMemoryBytes } from "../runtime/memory-node.ts";
import { takeMemoryPeak, watchMemory } from "../runtime/memory-watch-node.ts";
import { withMemory } from "../runtime/runtime.ts";
import type { Sampling, StartOptions } from "../schedulers/scheduler.ts";
import { elementCount, type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { decodeLatents, minimumDecodeBytes } from "./decode.ts";
import { asIfFrozen } from "./diffusion-model.ts";
import type { Phase, PhaseReport, PipelineEvent } from "./events.ts";
import { type MemoryPlan, type PlanLimits, phaseMemory, planMemory, unfitError, warnOfUnfit } from "./memory-plan.ts";
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
  const { plan, warning } = planRequest(pipeline, parts, request, size);
  if (warning !== undefined) {
    warnings.push(warning);
    yield { type: "warning", message: warning };
  }
  const planned = (phase: Phase): PipelineParts => ({
    ...parts,
    runtime: withMemory(parts.runtime, phaseMemory(plan, phase, parts.memory?.prefer)),
    guidance: plan.guidance,
    decodeWay: plan.phases.find(({ decodeWay }) => decodeWay !== undefined)?.decodeWay,
  });
  const generator = new TorchGenerator(request.seed);

  const conditioning = yield* measured("encode", plan, phases, collectWarnings(pipeline.encode(planned("encode"), request), warnings));
  const noise = request.latents ?? generator.randn(latentShape(pipeline, parts, request, size), parts.dtype);
  const sampling = parts.scheduler.start(request.numInferenceSteps, startOptions);
  const openDenoiser = () => pipeline.denoiser(planned("denoise"), request, size, conditioning);
  const latents = yield* measured("denoise", plan, phases, denoise(openDenoiser, sampling, noise, generator));
  const pictures = decodeLatents(planned("decode"), latents, pipeline.latentShift(parts), request.signal, async function* (sample, index) {
    const [pixels] = imagesFromTensor(resizeAndCrop(sample, request.height, request.width));
    if (pixels !== undefined) yield { type: "image", index, image: new RgbImage(pixels, { ...recipe, imageIndex: index }) };
  });
  yield* measured("decode", plan, phases, pictures);

  const highest = (key: "peakResidentBytes" | "peakAnonymousBytes" | "predictedPeakBytes") => {
    const known = phases.flatMap((phase) => phase[key] ?? []);
    return known.length === 0 ? undefined : Math.max(...known);
  };
  yield {
    type: "summary",
    report: {
      seed: request.seed,
      seconds: (performance.now() - started) / 1000,
      phases,
      peakResidentBytes: highest("peakResidentBytes"),
      peakAnonymousBytes: highest("peakAnonymousBytes"),
      predictedPeakBytes: highest("predictedPeakBytes"),
      latents,
      warnings,
    },
  };
}

/**
 * Plans a request for what it may take, with a warning where more may not be free.
 *
 * Errors: UsageError when nothing fits what the caller allows.
 */
function planRequest(pipeline: PipelineClass, parts: PipelineParts, request: Request, size: WorkSize) {
  const limits = memoryLimits(parts);
  const plan = planMemory(pipeline, parts, request, size, limits);
  const planned = { pipeline, parts, request, limits };
  const isLimited = parts.memory?.maxBytes !== undefined;
  if (!plan.fits && isLimited) throw unfitError(plan, planned);
  const freeBytes = isLimited ? limits.processBytes + freeMemoryBytes() : plan.budgetBytes;
  const warning = plan.peakBytes > freeBytes ? warnOfUnfit(plan, planned, freeBytes) : undefined;
  // Planning builds every graph once.
  collectGarbage();
  return { plan, warning };
}

/**
 * Refuses a request that does not fit what the caller allows, before weights are quantized for it.
 *
 * Errors: UsageError.
 */
export function refuseUnfit(pipeline: PipelineClass, parts: PipelineParts, request: Request): void {
  const models = [...parts.models.values()].filter((model) => model !== null);
  if (parts.memory?.maxBytes === undefined || models.every(({ marks }) => marks.size === 0)) return;
  asIfFrozen(models, () => planRequest(pipeline, parts, request, pipeline.workSize(parts, request)));
}

/** Left to others of what is free: 10 %. */
const RESERVE = 0.1;

/** What the caller allows, or what is free less a reserve; the process as it is now. */
export function memoryLimits({ memory }: PipelineParts): PlanLimits {
  collectGarbage();
  const { anonymousBytes, residentBytes } = memoryUse();
  const processBytes = anonymousBytes ?? residentBytes ?? 0;
  const maxBytes = memory?.maxBytes ?? processBytes + (1 - RESERVE) * freeMemoryBytes();
  return { maxBytes, processBytes, prefer: memory?.prefer };
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

/** Passes a phase's events on and ends it with a report of its time and memory; then gives back what it leaves. */
async function* measured<T>(
  phase: Phase,
  plan: MemoryPlan,
  reports: PhaseReport[],
  work: AsyncGenerator<PipelineEvent, T>,
): AsyncGenerator<PipelineEvent, T> {
  resetPeak();
  const stop = watchMemory();
  takeMemoryPeak();
  try {
    const started = performance.now();
    const result = yield* work;
    const seconds = (performance.now() - started) / 1000;
    const { anonymousBytes, peakResidentBytes } = memoryUse();
    const peakAnonymousBytes = anonymousBytes && Math.max(anonymousBytes, takeMemoryPeak().anonymousBytes ?? 0);
    // A class that lists no work for a phase has no prediction for it.
    const predictedPeakBytes = plan.phases.find((planned) => planned.phase === phase && planned.parts.length > 0)?.peakBytes;
    const report = { phase, seconds, peakResidentBytes, peakAnonymousBytes, predictedPeakBytes };
    reports.push(report);
    yield { type: "phase", report };
    return result;
  } finally {
    stop();
    collectGarbage();
  }
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
