/** The tiny pipeline with other schedulers than its own (reference/pipeline_schedulers.py), among them those that draw noise at every step. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiffusionPipeline, type FloatTensor, type RunReport } from "halftone";
import { describe, expect, it, onTestFinished } from "vitest";
import { difference, expectClose } from "../support/compare.ts";
import { type FixtureCase, fixturePath, readFixture } from "../support/fixture.ts";
import { TOLERANCES } from "../support/tolerances.ts";

interface CaseMeta {
  seed: number;
  drift: number;
  scheduler: { _class_name: string };
  options: {
    prompt: string;
    num_inference_steps: number;
    guidance_scale?: number;
    height: number;
    width: number;
    num_images_per_prompt?: number;
  };
}

const cases = readFixture("pipelines/schedulers").map((found) => ({ ...found, meta: found.meta as unknown as CaseMeta }));
type Case = (typeof cases)[number];

describe("PixArtSigmaPipeline with another scheduler", () => {
  it.each(cases)("$name", async (found) => {
    const { steps, timesteps, pixels, report } = await generate(found);
    const { drift } = found.meta;
    const tolerance = Math.max(TOLERANCES.latentsRelativeRms, TOLERANCES.latentsDriftFactor * drift);
    expect(timesteps).toEqual(Array.from(values(found, "timesteps")));
    for (const [step, { data }] of steps.slice(0, 3).entries()) {
      expectClose(data, values(found, `latents_${step + 1}`), tolerance, `latents after step ${step + 1}`);
    }
    expectClose(report.latents.data, values(found, "final_latents"), tolerance, "final latents");
    expect(difference(pixels, values(found, "picture")).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
  });

  it("covers every scheduler that PixArt can use, and noise in every dtype", () => {
    const kinds = cases.map(({ dtype, meta }) => `${meta.scheduler._class_name} ${dtype}`);
    for (const name of ["EulerDiscreteScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"]) {
      for (const dtype of ["float32", "float16"]) expect(kinds).toContain(`${name} ${dtype}`);
    }
    expect(kinds).toContain("DPMSolverMultistepScheduler bfloat16");
  });
});

function values(found: Pick<FixtureCase, "outputs">, output: string): Float32Array {
  return found.outputs[output]?.values as Float32Array;
}

/** The tiny pipeline with the case's scheduler, as diffusers would have saved it. */
function modelFolder({ scheduler }: CaseMeta): string {
  const folder = mkdtempSync(path.join(tmpdir(), "halftone-scheduler-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  cpSync(fixturePath("pipelines/tiny"), folder, { recursive: true });
  writeFileSync(path.join(folder, "scheduler/scheduler_config.json"), JSON.stringify(scheduler));
  const index = path.join(folder, "model_index.json");
  const parts = JSON.parse(readFileSync(index, "utf8")) as object;
  writeFileSync(index, JSON.stringify({ ...parts, scheduler: ["diffusers", scheduler._class_name] }));
  return folder;
}

async function generate({ meta, dtype }: Case) {
  const { seed, options } = meta;
  const pipeline = await DiffusionPipeline.fromPretrained(modelFolder(meta), { dtype, threads: 1 });
  const steps: FloatTensor[] = [];
  const timesteps: number[] = [];
  const pixels: number[] = [];
  let report: RunReport | undefined;
  try {
    const request = {
      seed,
      numInferenceSteps: options.num_inference_steps,
      guidanceScale: options.guidance_scale,
      height: options.height,
      width: options.width,
      numImagesPerPrompt: options.num_images_per_prompt,
    };
    for await (const event of pipeline.stream(options.prompt, request)) {
      if (event.type === "step") {
        steps.push(event.latents);
        timesteps.push(event.timestep);
      }
      if (event.type === "image") pixels.push(...event.image.data);
      if (event.type === "summary") report = event.report;
    }
  } finally {
    await pipeline.dispose();
  }
  return { steps, timesteps, pixels, report: report as RunReport };
}
