/**
 * What each qtype does to the embedded checkpoint: bytes, time, memory, and how far predictions and pictures move from float32 at equal seeds.
 *
 * usage: node bench/quantization.ts (Node 22.18 or newer)
 * Writes bench/results/quantization-demo.json and docs/pictures/qtypes.png, and prints a Markdown table.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { joinGrid } from "../src/image/grid.ts";
import type { Pixels } from "../src/image/pixels.ts";
import { encodePng } from "../src/image/png.ts";
import { DiffusionPipeline, demoModelFolder, type FloatTensor } from "../src/index.ts";
import { describeRun } from "./machine.ts";

const PROMPTS = [
  "a red apple on a blue background",
  "a fox on a green background",
  "castle, pink background",
  "a rocket in front of a black wall",
];
const QTYPES = ["qint8", "qfloat8", "qint4", "qint2"];
/** Parts, and modules of the transformer that stay float. */
const WAYS = [
  { name: "transformer", spec: (qtype: string) => `transformer=${qtype}`, exclude: [] },
  { name: "transformer without proj_out", spec: (qtype: string) => `transformer=${qtype}`, exclude: ["proj_out"] },
  { name: "transformer and text encoder", spec: (qtype: string) => qtype, exclude: [] },
];

interface Run {
  readonly bytes: number;
  readonly secondsPerStep: number;
  readonly peakResidentBytes: number;
  /** Latents after the first step: what one guided call of the model made. */
  readonly first: FloatTensor[];
  readonly pictures: Pixels[];
}

const reference = await run(undefined, []);
const rows = [];
const grid: Pixels[] = [...reference.pictures];
const labels = ["float32"];
for (const qtype of QTYPES) {
  for (const way of WAYS) {
    const made = await run(way.spec(qtype), way.exclude);
    rows.push({
      qtype,
      quantized: way.name,
      megabytes: made.bytes / 1e6,
      secondsPerStep: made.secondsPerStep,
      peakResidentMegabytes: made.peakResidentBytes / 1e6,
      firstStepError: relativeRms(made.first, reference.first),
      psnr: psnr(made.pictures, reference.pictures),
    });
    if (way.name === "transformer and text encoder") {
      grid.push(...made.pictures);
      labels.push(qtype);
    }
  }
}
mkdirSync("docs/pictures", { recursive: true });
writeFileSync("docs/pictures/qtypes.png", encodePng(joinGrid(grid, { columns: PROMPTS.length, rowLabels: labels, textScale: 1 })));
const float = {
  megabytes: reference.bytes / 1e6,
  secondsPerStep: reference.secondsPerStep,
  peakResidentMegabytes: reference.peakResidentBytes / 1e6,
};
writeFileSync(
  "bench/results/quantization-demo.json",
  `${JSON.stringify({ run: describeRun(), prompts: PROMPTS, float, rows }, undefined, 2)}\n`,
);
console.log(
  "| quantized | qtype | MB of weights | s/step | peak, MB | error of the first step | PSNR, dB |\n|---|---|---|---|---|---|---|",
);
console.log(
  `| nothing | | ${float.megabytes.toFixed(1)} | ${float.secondsPerStep.toFixed(3)} | ${float.peakResidentMegabytes.toFixed(0)} | | |`,
);
for (const row of rows) {
  const { qtype, quantized, megabytes, secondsPerStep, peakResidentMegabytes, firstStepError } = row;
  const numbers = [megabytes.toFixed(1), secondsPerStep.toFixed(3), peakResidentMegabytes.toFixed(0), firstStepError.toExponential(1)];
  console.log(`| ${quantized} | ${qtype} | ${numbers.join(" | ")} | ${row.psnr.toFixed(1)} |`);
}

async function run(spec: string | undefined, exclude: readonly string[]): Promise<Run> {
  const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
  if (spec !== undefined) pipeline.quantize(spec, { exclude });
  const first: FloatTensor[] = [];
  const pictures: Pixels[] = [];
  const steps: number[] = [];
  let peakResidentBytes = 0;
  for (const [seed, prompt] of PROMPTS.entries()) {
    for await (const event of pipeline.stream(prompt, { seed })) {
      if (event.type === "step") steps.push(event.seconds);
      if (event.type === "step" && event.step === 1) first.push(event.latents);
      if (event.type === "image") pictures.push(event.image);
      if (event.type === "summary") peakResidentBytes = Math.max(peakResidentBytes, event.report.peakResidentBytes ?? 0);
    }
  }
  const bytes = (pipeline.transformer?.weightBytes ?? 0) + (pipeline.textEncoder?.weightBytes ?? 0);
  await pipeline.dispose();
  const sorted = steps.toSorted((a, b) => a - b);
  return { bytes, secondsPerStep: sorted[Math.floor(sorted.length / 2)] ?? 0, peakResidentBytes, first, pictures };
}

function relativeRms(got: readonly FloatTensor[], want: readonly FloatTensor[]): number {
  let error = 0;
  let size = 0;
  for (const [i, tensor] of want.entries()) {
    for (const [j, value] of tensor.data.entries()) {
      error += ((got[i]?.data[j] ?? Number.NaN) - value) ** 2;
      size += value ** 2;
    }
  }
  return Math.sqrt(error / size);
}

/** Over all pictures together. */
function psnr(got: readonly Pixels[], want: readonly Pixels[]): number {
  let squared = 0;
  let count = 0;
  for (const [i, picture] of want.entries()) {
    for (const [j, value] of picture.data.entries()) {
      squared += ((got[i]?.data[j] ?? Number.NaN) - value) ** 2;
      count++;
    }
  }
  return 10 * Math.log10(255 ** 2 / (squared / count));
}
