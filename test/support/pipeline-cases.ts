/** Cases of whole pipelines (reference/pipelines.py and its like), and how they are run here. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DiffusionPipeline, type FloatTensor, type GenerateOptions, type PipelineEvent } from "halftone";
import { expect, onTestFinished } from "vitest";
import { difference, expectClose } from "./compare.ts";
import type { FixtureCase } from "./fixture.ts";
import { TOLERANCES } from "./tolerances.ts";

/** What a case says beside its tensors; options are those of the reference's call, by diffusers' names. */
export interface PipelineCase {
  readonly seed: number;
  readonly drift: number;
  readonly config?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Parts that the pipeline runs without. */
  readonly absent?: readonly string[];
  readonly options: { readonly prompt: string } & Readonly<Record<string, unknown>>;
  readonly picture?: string;
  readonly quantization?: { readonly spec: string; readonly exclude?: string };
}

/** The case's own description. */
export function aboutCase(found: FixtureCase): PipelineCase {
  return found.meta as unknown as PipelineCase;
}

/** The numbers of an output. */
export function wanted(found: FixtureCase, output: string): Float32Array {
  return found.outputs[output]?.values as Float32Array;
}

/** The stated tolerance or, where the random net amplifies rounding, a multiple of how far the reference moves by itself. */
export function latentTolerance({ drift }: PipelineCase): number {
  return Math.max(TOLERANCES.latentsRelativeRms, TOLERANCES.latentsDriftFactor * drift);
}

/** Files of what is no model. */
const CONFIG_FILES: Readonly<Record<string, string>> = { scheduler: "scheduler_config.json", tokenizer: "tokenizer_config.json" };

/** The pipeline's folder, or a copy with the files of `overlay` over its own, the case's changes to its configs, without the parts that it lacks. */
export function modelFolder(tiny: string, { config = {}, absent = [] }: PipelineCase, overlay?: string): string {
  if (overlay === undefined && Object.keys(config).length === 0 && absent.length === 0) return tiny;
  const folder = mkdtempSync(path.join(tmpdir(), "halftone-pipeline-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  cpSync(tiny, folder, { recursive: true });
  if (overlay !== undefined) cpSync(overlay, folder, { recursive: true });
  const index = path.join(folder, "model_index.json");
  for (const [part, changes] of Object.entries(config)) {
    edit(path.join(folder, part, CONFIG_FILES[part] ?? "config.json"), changes);
    if (changes._class_name !== undefined) edit(index, { [part]: ["diffusers", changes._class_name] });
  }
  for (const part of absent) {
    const names = [part, part.replace("text_encoder", "tokenizer")];
    for (const name of names) rmSync(path.join(folder, name), { recursive: true });
    edit(index, Object.fromEntries(names.map((name) => [name, [null, null]])));
  }
  return folder;
}

/** Changes options of a JSON file. */
function edit(file: string, changes: object): void {
  // -Infinity is Python's, not JSON's: the option it stands for is left at its default, which is the same.
  const config = JSON.parse(readFileSync(file, "utf8").replace(/\s*"lambda_min_clipped": -Infinity,/, "")) as object;
  writeFileSync(file, JSON.stringify({ ...config, ...changes }));
}

/** A case's request by halftone's names. */
export function requestOf({ seed, options }: PipelineCase): GenerateOptions {
  const { prompt: _, ...rest } = options;
  const named = Object.entries(rest).map(([name, value]) => [
    name.replace(/_(\w)/g, (_match, letter: string) => letter.toUpperCase()),
    value,
  ]);
  return { seed, ...Object.fromEntries(named) };
}

/** What a run tells. */
export interface CaseRun {
  readonly steps: FloatTensor[];
  readonly timesteps: number[];
  readonly images: Uint8Array[];
  readonly latents: FloatTensor;
  readonly warnings: readonly string[];
}

/** Runs a case; `open` is what else the pipeline is opened with. */
export async function runCase(folder: string, found: FixtureCase, open: { textEncoder3?: null } = {}): Promise<CaseRun> {
  const about = aboutCase(found);
  const pipeline = await DiffusionPipeline.fromPretrained(folder, { dtype: found.dtype, threads: 1, ...open });
  try {
    const { spec, exclude } = about.quantization ?? {};
    if (spec !== undefined) pipeline.quantize(spec, exclude === undefined ? {} : { exclude: [exclude] });
    return await collect(pipeline.stream(about.options.prompt, requestOf(about)));
  } finally {
    await pipeline.dispose();
  }
}

/** Timesteps, the latents after the first three steps and at the end, and pictures are the reference's. */
export function expectAsReference(found: FixtureCase, { steps, timesteps, images, latents }: CaseRun): void {
  const tolerance = latentTolerance(aboutCase(found));
  expect(timesteps).toEqual(Array.from(wanted(found, "timesteps")));
  for (const [step, got] of steps.slice(0, 3).entries()) {
    expectClose(got.data, wanted(found, `latents_${step + 1}`), tolerance, `latents after step ${step + 1}`);
  }
  expectClose(latents.data, wanted(found, "final_latents"), tolerance, "final latents");
  const pixels = Uint8Array.from(images.flatMap((image) => Array.from(image)));
  expect(difference(pixels, wanted(found, "picture")).maxAbs).toBeLessThanOrEqual(TOLERANCES.pictureLevels);
}

async function collect(events: AsyncGenerator<PipelineEvent>): Promise<CaseRun> {
  const run = { steps: [] as FloatTensor[], timesteps: [] as number[], images: [] as Uint8Array[] };
  for await (const event of events) {
    if (event.type === "step") {
      run.steps.push(event.latents);
      run.timesteps.push(event.timestep);
    }
    if (event.type === "image") run.images.push(event.image.data);
    if (event.type === "summary") return { ...run, latents: event.report.latents, warnings: event.report.warnings };
  }
  throw new Error("a run ended without its summary");
}
