import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { fixturePath } from "../../test/support/fixture.ts";
import { UsageError } from "../errors.ts";
import { floatTensor } from "../tensor/tensor.ts";
import type { PipelineEvent } from "./events.ts";
import { type PlanLimits, phaseMemory, planMemory, unfitError, warnOfUnfit } from "./memory-plan.ts";
import { type OpenedPipeline, openPipeline } from "./open-pipeline.ts";
import type { GenerateOptions } from "./options.ts";
import type { GuidanceWay } from "./pipeline-class.ts";
import { checkRequest } from "./request.ts";

let opened: OpenedPipeline;
beforeAll(async () => {
  opened = await openPipeline(fixturePath("pipelines/tiny"), { threads: 1 });
  return async () => {
    for (const model of opened.own) await model.dispose();
  };
});

const LARGE = { height: 1536, width: 1536 };
const limits = (maxBytes: number): PlanLimits => ({ maxBytes, processBytes: 50e6 });

function plan(maxBytes: number, options: GenerateOptions = LARGE, change: Partial<PlanLimits> = {}) {
  const { pipelineClass, parts } = opened;
  // A long prompt: the scores of its tokens take the most where the picture is large.
  const request = checkRequest("a fox ".repeat(300), options, pipelineClass, parts);
  return planMemory(pipelineClass, parts, request, pipelineClass.workSize(parts, request), { ...limits(maxBytes), ...change });
}

function phaseOf(found: ReturnType<typeof plan>, phase: string) {
  const planned = found.phases.find((candidate) => candidate.phase === phase);
  if (planned === undefined) throw new Error(`the plan has no ${phase}`);
  return planned;
}

describe("a plan", () => {
  it("takes the fastest way where memory is plentiful", () => {
    const found = plan(Number.POSITIVE_INFINITY);
    expect(found).toMatchObject({ fits: true, guidance: "batched" });
    expect(found.phases.map(({ phase }) => phase)).toEqual(["encode", "denoise", "decode"]);
    expect(phaseOf(found, "denoise").parts).toMatchObject([{ part: "transformer", hold: "resident" }]);
    expect(phaseOf(found, "decode").decodeWay).toEqual({ kind: "whole" });
    expect(found.peakBytes).toBe(Math.max(...found.phases.map(({ peakBytes }) => peakBytes)));
  });

  it("decodes in strips, then guides sequentially, as memory gets shorter", () => {
    const larger = { height: 2048, width: 2048, numImagesPerPrompt: 4 };
    const shorter = plan(5e8, larger);
    expect(shorter).toMatchObject({ fits: true, guidance: "batched" });
    expect(phaseOf(shorter, "decode").decodeWay).toMatchObject({ kind: "strips" });
    const short = plan(4.5e8, larger);
    expect(short).toMatchObject({ fits: true, guidance: "sequential" });
    expect(phaseOf(short, "denoise").peakBytes).toBeLessThan(0.8 * phaseOf(shorter, "denoise").peakBytes);
  });

  it("takes less for a short prompt than for a long one", () => {
    const { pipelineClass, parts } = opened;
    const request = checkRequest("a fox", LARGE, pipelineClass, parts);
    expect(request.textTokens).toBeLessThan(10);
    const short = planMemory(pipelineClass, parts, request, pipelineClass.workSize(parts, request), limits(1e10));
    const peak = (found: typeof short, phase: string) => phaseOf(found, phase).peakBytes;
    expect(peak(short, "denoise")).toBeLessThan(0.95 * peak(plan(1e10), "denoise"));
    expect(peak(short, "encode")).toBeLessThan(peak(plan(1e10), "encode"));
  });

  it("keeps guidance in one call where there is none", () => {
    expect(plan(1e8, { ...LARGE, guidanceScale: 1 }).guidance).toBe("batched");
  });

  it("holds parts as they were asked to be", () => {
    expect(phaseOf(plan(1e10, LARGE, { prefer: "streamed" }), "denoise").parts).toMatchObject([
      { hold: "streamed", segmentsPerProgram: 4 },
    ]);
    expect(phaseOf(plan(2e8, LARGE, { prefer: "resident" }), "denoise").parts).toMatchObject([{ hold: "resident" }]);
  });

  it("leaves a phase what the process has not taken already", () => {
    const found = plan(1e9);
    expect(phaseMemory(found, "encode", undefined)).toEqual({ budgetBytes: found.budgetBytes - 50e6, isRepeated: false });
    expect(phaseMemory(found, "denoise", "streamed")).toMatchObject({ prefer: "streamed", isRepeated: true });
    expect(found.budgetBytes).toBeLessThan(1e9);
  });

  it("knows weights by the qtypes and dtypes in which they are stored", () => {
    const [transformer] = phaseOf(plan(1e10), "denoise").parts;
    const total = Object.values(transformer?.weightBytes ?? {}).reduce((sum, bytes) => sum + bytes, 0);
    expect(total).toBe(opened.parts.models.get("transformer")?.weightBytes);
  });

  it("is refused where nothing fits, with what would", () => {
    const { pipelineClass: pipeline, parts } = opened;
    const unfit = plan(3.4e8, { ...LARGE, numImagesPerPrompt: 2 });
    expect(unfit.fits).toBe(false);
    const request = checkRequest("a fox", { ...LARGE, numImagesPerPrompt: 2 }, pipeline, parts);
    const planned = { pipeline, parts, request, limits: limits(3.4e8) };
    expect(warnOfUnfit(unfit, planned, unfit.budgetBytes)).toMatch(
      /more than the 0\.\d\d GB that are free for that: it may .*; ask for 1152 x 1152 pixels, which fits$/,
    );
    const error = unfitError(unfit, planned);
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toMatch(/^2 x 1536 x 1536 pixels take \d\.\d\d GB of memory \((denoise|decode)\), and of the 0\.34 GB/);
    expect(error.hint).toMatch(/^allow \d\.\d\d GB, or ask for 1152 x 1152 pixels, which fits$/);
  });

  it("advises an amount that suffices, and only just", () => {
    const { pipelineClass: pipeline, parts } = opened;
    const request = checkRequest("a fox ".repeat(300), LARGE, pipeline, parts);
    const { hint = "" } = unfitError(plan(2.1e8), { pipeline, parts, request, limits: limits(2.1e8) });
    const advised = Number(/^allow (\d\.\d\d) GB/.exec(hint)?.[1]) * 1e9;
    expect([plan(advised).fits, plan(advised - 1e8).fits]).toEqual([true, false]);
  });

  it("names what was asked for where the request would fit without", () => {
    const { pipelineClass: pipeline, parts } = opened;
    const many = { height: 2048, width: 2048, numImagesPerPrompt: 64 };
    const request = checkRequest("a fox ".repeat(300), many, pipeline, parts);
    const maxBytes = (1.01 * plan(2e8, many).peakBytes) / 0.85;
    const unfit = plan(maxBytes, many, { prefer: "resident" });
    expect([plan(maxBytes, many).fits, unfit.fits]).toEqual([true, false]);
    const { hint } = unfitError(unfit, { pipeline, parts, request, limits: { ...limits(maxBytes), prefer: "resident" } });
    expect(hint).toContain("without enableModelCpuOffload()");
  });
});

describe("sequential guidance", () => {
  it.each(["tiny", "sd3", "auraflow"])("predicts what batched guidance does: %s", async (name) => {
    const of = await openPipeline(fixturePath(`pipelines/${name}`), { threads: 1 });
    onTestFinished(async () => {
      for (const model of of.own) await model.dispose();
    });
    const [batched, sequential] = [await predict(of, "batched"), await predict(of, "sequential")];
    const worst = Math.max(...batched.map((value, i) => Math.abs(value - (sequential[i] as number))));
    const size = Math.sqrt(batched.reduce((sum, value) => sum + value * value, 0) / batched.length);
    expect(worst / size).toBeLessThan(1e-5);
  });
});

/** One prediction for two pictures. */
async function predict({ pipelineClass, parts }: OpenedPipeline, guidance: GuidanceWay): Promise<Float32Array> {
  const request = checkRequest("a fox", { height: 32, width: 32, numImagesPerPrompt: 2, negativePrompt: "rain" }, pipelineClass, parts);
  const size = pipelineClass.workSize(parts, request);
  const conditioning = await last(pipelineClass.encode(parts, request));
  const denoiser = pipelineClass.denoiser({ ...parts, guidance }, request, size, conditioning);
  const shape = [2, pipelineClass.latentChannels(parts), size.latentHeight, size.latentWidth];
  const latents = floatTensor(
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)),
  );
  try {
    return await last(denoiser.predict(latents, 500, 0));
  } finally {
    await denoiser.dispose();
  }
}

async function last<T>(work: AsyncGenerator<PipelineEvent, T>): Promise<T> {
  for (;;) {
    const { done, value } = await work.next();
    if (done) return value;
  }
}
