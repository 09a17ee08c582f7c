/**
 * Eight prompts with the embedded checkpoint, diffusers' pictures above halftone's at equal seeds, and how far they are apart.
 *
 * usage: node bench/demo-pictures.ts (Node 22.18 or newer)
 * Reads test/fixtures/demo (written by reference/demo.py), writes docs/pictures/demo.png and bench/results/demo-pictures.json.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { joinGrid } from "../src/image/grid.ts";
import type { Pixels } from "../src/image/pixels.ts";
import { decodePng, encodePng } from "../src/image/png.ts";
import { DiffusionPipeline, demoModelFolder } from "../src/index.ts";

interface Case {
  name: string;
  seed: number;
  picture: string;
  options: { prompt: string; negative_prompt?: string; num_inference_steps: number; guidance_scale: number };
}

const folder = "test/fixtures/demo";
const { cases } = JSON.parse(readFileSync(`${folder}/io.json`, "utf8")) as { cases: Case[] };
const theirs: Pixels[] = [];
const ours: Pixels[] = [];
const differences: { prompt: string; seed: number; maxDifference: number; differentShare: number; psnr: number | null }[] = [];

const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
for (const { seed, picture, options } of cases) {
  const { images } = await pipeline.generate(options.prompt, {
    seed,
    negativePrompt: options.negative_prompt,
    numInferenceSteps: options.num_inference_steps,
    guidanceScale: options.guidance_scale,
  });
  const want = decodePng(new Uint8Array(readFileSync(`${folder}/${picture}`)));
  const [got] = images;
  if (got === undefined) throw new Error("no picture");
  theirs.push(want);
  ours.push(got);
  differences.push({ prompt: options.prompt, seed, ...compare(got.data, want.data) });
}
await pipeline.dispose();

mkdirSync("docs/pictures", { recursive: true });
const grid = joinGrid([...theirs, ...ours], { columns: cases.length, rowLabels: ["diffusers", "halftone"], textScale: 1 });
writeFileSync("docs/pictures/demo.png", encodePng(grid));
writeFileSync("bench/results/demo-pictures.json", `${JSON.stringify(differences, undefined, 2)}\n`);
console.table(differences);

/** Differences of 8-bit values; psnr is null for equal pictures. */
function compare(got: Uint8Array, want: ArrayLike<number>) {
  const deltas = Array.from(got, (value, i) => Math.abs(value - (want[i] as number)));
  const squared = deltas.reduce((sum, delta) => sum + delta * delta, 0) / deltas.length;
  return {
    maxDifference: Math.max(...deltas),
    differentShare: deltas.filter((delta) => delta > 0).length / deltas.length,
    psnr: squared === 0 ? null : 10 * Math.log10(255 ** 2 / squared),
  };
}
