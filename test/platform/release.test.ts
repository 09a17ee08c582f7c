/** Whatever way a run or an opening ends, nothing stays behind: no compiled program, no open file. */
import { cpSync, mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiffusionPipeline, type PipelineEvent } from "halftone";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { openFolder } from "../../src/checkpoint/file-source-node.ts";
import { subfolder } from "../../src/checkpoint/folder.ts";
import { readJson } from "../../src/checkpoint/json.ts";
import { DiffusionModel } from "../../src/pipelines/diffusion-model.ts";
import type { PipelineParts } from "../../src/pipelines/parts.ts";
import { pixArtSigma } from "../../src/pipelines/pixart.ts";
import { checkRequest } from "../../src/pipelines/request.ts";
import { type RecipeBase, run } from "../../src/pipelines/run.ts";
import { onnxRuntimeNode } from "../../src/runtime/onnxruntime-node.ts";
import { createScheduler } from "../../src/schedulers/registry.ts";
import { loadTokenizer } from "../../src/tokenizers/registry.ts";
import { CountingRuntime } from "../support/counting-runtime.ts";
import { DAMAGES } from "../support/damages.ts";
import { fixturePath } from "../support/fixture.ts";

const tiny = fixturePath("pipelines/tiny");
const quick = { seed: 0, height: 32, width: 32, numInferenceSteps: 2, numImagesPerPrompt: 2 };

describe("a run", () => {
  let models: Map<string, DiffusionModel>;
  beforeAll(async () => {
    const folder = await openFolder(tiny);
    const open = (part: string) => DiffusionModel.open(subfolder(folder, part), { part, dtype: "float32" });
    models = new Map(await Promise.all(Object.keys(pixArtSigma.models).map(async (part) => [part, await open(part)] as const)));
    return async () => {
      for (const model of models.values()) await model.dispose();
    };
  });

  /** The events of a run on a runtime that counts; `until` says at which event the caller leaves. */
  async function follow(
    runtime: CountingRuntime,
    until: (event: PipelineEvent) => boolean,
    signal?: AbortSignal,
  ): Promise<PipelineEvent[]> {
    const folder = await openFolder(tiny);
    const tokenizers = new Map([["tokenizer", await loadTokenizer(folder, "tokenizer", "T5Tokenizer")]]);
    const scheduler = createScheduler("DPMSolverMultistepScheduler", await readJson(folder, "scheduler/scheduler_config.json"));
    const parts: PipelineParts = { runtime, dtype: "float32", models: new Map(models), tokenizers, scheduler };
    const request = checkRequest("a fox", { ...quick, signal }, pixArtSigma, parts);
    const events: PipelineEvent[] = [];
    for await (const event of run(pixArtSigma, parts, request, recipe)) {
      events.push(event);
      if (until(event)) break;
    }
    return events;
  }

  const counting = () => new CountingRuntime(onnxRuntimeNode({ threads: 1 }));

  it("holds one part at a time, compiled once, and nothing at its end", async () => {
    const runtime = counting();
    const events = await follow(runtime, () => false);
    expect(events.at(-1)?.type).toBe("summary");
    expect(runtime).toMatchObject({ compiled: 3, held: 0, mostHeld: 1, keepScratchMemory: [true, true, true] });
    // The text encoder once, the transformer at every step, the decoder for every picture.
    expect(runtime.runs).toBe(1 + quick.numInferenceSteps + quick.numImagesPerPrompt);
  });

  it.each<[string, (event: PipelineEvent) => boolean, number]>([
    ["at the prompt", (event) => event.type === "segment" && event.phase === "encode", 0],
    ["after the prompt", (event) => event.type === "phase" && event.report.phase === "encode", 1],
    ["between the segments of a step", (event) => event.type === "segment" && event.phase === "denoise" && event.done > 0, 2],
    ["after a step", (event) => event.type === "step", 2],
    ["between two pictures", (event) => event.type === "image", 3],
  ])("holds nothing when the caller leaves %s", async (_, until, compiled) => {
    const runtime = counting();
    await follow(runtime, until);
    expect(runtime).toMatchObject({ compiled, held: 0 });
  });

  it.each([1, 2, 3, 5])("holds nothing when run %i of the engine fails", async (failAtRun) => {
    const runtime = counting();
    runtime.failAtRun = failAtRun;
    await expect(follow(runtime, () => false)).rejects.toThrow("planted failure of a run");
    expect(runtime).toMatchObject({ runs: failAtRun, held: 0 });
  });

  it.each([1, 2, 3])("holds nothing when compilation %i of the engine fails", async (failAtCompile) => {
    const runtime = counting();
    runtime.failAtCompile = failAtCompile;
    await expect(follow(runtime, () => false)).rejects.toThrow("planted failure of a compilation");
    expect(runtime).toMatchObject({ compiled: failAtCompile - 1, held: 0 });
  });

  it.each(["encode", "denoise", "decode"])("holds nothing when it is stopped on request: %s", async (phase) => {
    const runtime = counting();
    const controller = new AbortController();
    const stop = (event: PipelineEvent) => {
      if (event.type === "segment" && event.phase === phase && event.done === 0) controller.abort();
      return false;
    };
    await expect(follow(runtime, stop, controller.signal)).rejects.toThrow("stopped on request");
    expect(runtime.held).toBe(0);
  });
});

describe("open files", () => {
  // The first picture of a process starts the thread that watches its memory, which stays.
  beforeAll(() => useOnce());

  const needsLinux = (skip: (reason: string) => void) => {
    if (process.platform !== "linux") skip("only Linux lists the open files of a process in /proc/self/fd");
  };

  it("are those of before when a pipeline has been opened, used and disposed of 20 times", async ({ skip }) => {
    needsLinux(skip);
    await useOnce();
    const before = openFiles();
    for (let time = 0; time < 20; time++) await useOnce();
    expect(openFiles()).toEqual(before);
    expect(filesBelow(tiny)).toEqual([]);
  });

  it("are closed when the parts have been quantized on the way, too", async ({ skip }) => {
    needsLinux(skip);
    // An empty cache, so that the quantized weights are written as well as read.
    const cache = mkdtempSync(path.join(tmpdir(), "halftone-cache-"));
    vi.stubEnv("HALFTONE_CACHE", cache);
    onTestFinished(() => {
      vi.unstubAllEnvs();
      rmSync(cache, { recursive: true });
    });
    const before = openFiles();
    await useOnce("transformer=qint8,text_encoder=qint4");
    expect(readdirSync(cache).length).toBeGreaterThan(0);
    expect(openFiles()).toEqual(before);
  });

  it("are there while a pipeline is open, or this test would see none", async ({ skip }) => {
    needsLinux(skip);
    const pipeline = await DiffusionPipeline.fromPretrained(tiny, { threads: 1 });
    expect(filesBelow(tiny).length).toBeGreaterThanOrEqual(3);
    await pipeline.dispose();
    expect(filesBelow(tiny)).toEqual([]);
  });

  it.for(DAMAGES)("are closed when opening fails: $name", async ({ damage }, { skip }) => {
    needsLinux(skip);
    const folder = mkdtempSync(path.join(realpathSync(tmpdir()), "halftone-files-"));
    try {
      cpSync(tiny, folder, { recursive: true });
      damage(folder);
      const before = openFiles();
      for (let time = 0; time < 3; time++) await expect(DiffusionPipeline.fromPretrained(folder)).rejects.toThrow();
      expect(openFiles()).toEqual(before);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

const recipe: RecipeBase = {
  prompt: "a fox",
  negativePrompt: "",
  seed: "0",
  steps: quick.numInferenceSteps,
  guidanceScale: 4.5,
  height: quick.height,
  width: quick.width,
  images: quick.numImagesPerPrompt,
  model: "tiny",
  modelHash: "",
  pipeline: "PixArtSigmaPipeline",
  scheduler: "DPMSolverMultistepScheduler",
  dtype: "float32",
  qtypes: {},
  useResolutionBinning: false,
  version: "",
};

async function useOnce(qtypes?: string): Promise<void> {
  const pipeline = await DiffusionPipeline.fromPretrained(tiny, { threads: 1 });
  try {
    if (qtypes !== undefined) pipeline.quantize(qtypes);
    for await (const event of pipeline.stream("a fox", { ...quick, numImagesPerPrompt: 1 })) if (event.type === "step") break;
  } finally {
    await pipeline.dispose();
  }
}

/** What the process has open, sorted. */
function openFiles(): string[] {
  return readdirSync("/proc/self/fd")
    .flatMap((descriptor) => {
      try {
        return [readlinkSync(`/proc/self/fd/${descriptor}`)];
      } catch {
        // The descriptor that the listing itself was read with.
        return [];
      }
    })
    .sort();
}

function filesBelow(folder: string): string[] {
  return openFiles().filter((file) => file.startsWith(`${realpathSync(folder)}${path.sep}`));
}
