/**
 * What each qtype does to a model: bytes, memory while loading and running, time, and how far predictions and pictures move from float at
 * equal seeds. Each way is quantized anew, in a process of its own.
 *
 * usage: node bench/quantization.ts [MODEL] [--name quantization-demo] [--dtype float32] [--size PIXELS] [--steps 20] [--prompts 4]
 *        [--grid FILE.png] (Node 22.18 or newer)
 * Without MODEL the embedded checkpoint. Writes bench/results/NAME.json and prints a Markdown table; --grid also writes a grid of pictures.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { parseJson } from "../src/checkpoint/json.ts";
import { joinGrid } from "../src/image/grid.ts";
import type { Pixels } from "../src/image/pixels.ts";
import { encodePng } from "../src/image/png.ts";
import { demoModelFolder, type LoadOptions } from "../src/index.ts";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import { TorchGenerator } from "../src/random/torch-generator.ts";
import { createScheduler } from "../src/schedulers/registry.ts";
import type { RunSettings } from "./quantized-run.ts";
import { Sampler } from "./sampler.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: "string", default: "quantization-demo" },
    dtype: { type: "string", default: "float32" },
    size: { type: "string" },
    steps: { type: "string", default: "20" },
    prompts: { type: "string", default: "4" },
    qtypes: { type: "string", default: "qint8,qfloat8,qint4,qint2" },
    grid: { type: "string" },
    work: { type: "string", default: tmpdir() },
  },
});
const [model = demoModelFolder] = positionals;
const dtype = values.dtype as NonNullable<LoadOptions["dtype"]>;
const PROMPTS = [
  "a red apple on a blue background",
  "a fox on a green background",
  "lion, orange background",
  "a small penguin on a sky blue background",
].slice(0, Number(values.prompts));
/** Parts, and modules of the transformer that stay float. */
const WAYS = [
  { name: "transformer", spec: (qtype: string) => `transformer=${qtype}`, exclude: [] },
  { name: "transformer without proj_out", spec: (qtype: string) => `transformer=${qtype}`, exclude: ["proj_out"] },
  { name: "transformer and text encoder", spec: (qtype: string) => qtype, exclude: [] },
];

interface Made {
  readonly weightBytes: number;
  readonly loadSeconds: number;
  readonly loadPeak: { readonly anonymousBytes: number; readonly residentBytes: number };
  readonly runPeak: { readonly anonymousBytes: number; readonly residentBytes: number };
  readonly secondsPerStep: number;
  /** Latents after the first step of each picture, one behind the other: what one guided call of the model made. */
  readonly first: Float32Array;
  /** Of one picture's latents. */
  readonly shape: readonly number[];
  readonly pictures: readonly Pixels[];
}

const reference = await run(undefined, []);
const unmoved = withoutPrediction(reference.shape);
const rows = [describe("nothing", "", reference)];
const grid: Pixels[] = [...reference.pictures];
for (const qtype of values.qtypes.split(",")) {
  for (const way of WAYS) {
    const made = await run(way.spec(qtype), way.exclude);
    rows.push(describe(way.name, qtype, made));
    if (way.name === "transformer and text encoder") grid.push(...made.pictures);
  }
}
const settings = { model: path.basename(model), dtype, size: values.size, steps: Number(values.steps), prompts: PROMPTS };
writeFileSync(`bench/results/${values.name}.json`, `${JSON.stringify({ run: describeMachine(), settings, rows }, undefined, 2)}\n`);
if (values.grid !== undefined) {
  const labels = ["float32", ...values.qtypes.split(",")];
  writeFileSync(values.grid, encodePng(joinGrid(grid, { columns: PROMPTS.length, rowLabels: labels, textScale: 1 })));
}
console.log("| quantized | qtype | weights, MB | load: s | peak, MB | run: peak, MB | s/step | error of a call | PSNR, dB |");
console.log("|---|---|---|---|---|---|---|---|---|");
for (const row of rows) {
  const peak = (found: Made["loadPeak"]) => `${(found.anonymousBytes / 1e6).toFixed(0)} / ${(found.residentBytes / 1e6).toFixed(0)}`;
  const moved = row.qtype === "" ? ["", ""] : [`${(100 * row.callError).toFixed(2)} %`, row.psnr.toFixed(1)];
  const weights = (row.weightBytes / 1e6).toFixed(row.weightBytes > 1e8 ? 0 : 1);
  const numbers = [weights, row.loadSeconds.toFixed(1), peak(row.loadPeak), peak(row.runPeak), row.secondsPerStep.toFixed(3)];
  console.log(`| ${row.quantized} | ${row.qtype} | ${[...numbers, ...moved].join(" | ")} |`);
}

function describe(quantized: string, qtype: string, made: Made) {
  const { weightBytes, loadSeconds, loadPeak, runPeak, secondsPerStep } = made;
  const accuracy = { callError: callError(made.first, reference.first), psnr: psnr(made.pictures, reference.pictures) };
  return { quantized, qtype, weightBytes, loadSeconds, loadPeak, runPeak, secondsPerStep, ...accuracy };
}

async function run(spec: string | undefined, exclude: readonly string[]): Promise<Made> {
  const output = mkdtempSync(path.join(values.work, "halftone-bench-"));
  const size = values.size === undefined ? undefined : Number(values.size);
  const wanted: RunSettings = { model, dtype, spec, exclude, prompts: PROMPTS, size, steps: Number(values.steps), output };
  const child = spawn(process.execPath, ["bench/quantized-run.ts", JSON.stringify(wanted)], {
    stdio: ["ignore", "pipe", "inherit"],
    // A cache of its own, so that every way is quantized in front of the meter.
    env: { ...process.env, HALFTONE_CACHE: path.join(output, "cache") },
  });
  const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
  const sampler = new Sampler(child.pid ?? 0);
  const said = new Map<
    string,
    { at: number; weightBytes?: number; stepSeconds?: number[]; height?: number; width?: number; shape?: number[] }
  >();
  for await (const line of createInterface({ input: child.stdout })) {
    const { phase, ...rest } = JSON.parse(line) as { phase: string; at: number };
    said.set(phase, rest);
  }
  sampler.stop();
  if ((await ended) !== 0) throw new Error(`${spec ?? "float"} failed`);
  const [start, load, end] = ["start", "load", "run"].map((phase) => said.get(phase) as NonNullable<ReturnType<typeof said.get>>);
  const { height = 0, width = 0, shape = [] } = end ?? {};
  const pixels = readFileSync(path.join(output, "pixels.bin"));
  const first = readFileSync(path.join(output, "first.bin"));
  rmSync(output, { recursive: true });
  const steps = (end?.stepSeconds ?? []).toSorted((a, b) => a - b);
  const perPicture = 3 * height * width;
  return {
    weightBytes: load?.weightBytes ?? 0,
    loadSeconds: ((load?.at ?? 0) - (start?.at ?? 0)) / 1000,
    loadPeak: sampler.peak(start?.at ?? 0, load?.at ?? 0),
    runPeak: sampler.peak(load?.at ?? 0, end?.at ?? 0),
    secondsPerStep: steps[Math.floor(steps.length / 2)] ?? 0,
    first: new Float32Array(first.buffer.slice(first.byteOffset, first.byteOffset + first.length)),
    shape,
    pictures: PROMPTS.map((_, i) => ({ height, width, data: pixels.subarray(i * perPicture, (i + 1) * perPicture) })),
  };
}

/** What the first step would have made of the noise if the model had predicted zeros: a step is linear in the prediction. */
function withoutPrediction(shape: readonly number[]): Float32Array {
  const count = shape.reduce((product, dim) => product * dim, 1);
  const file = path.join(model, "scheduler", "scheduler_config.json");
  const config = parseJson(readFileSync(file), file) as { _class_name: string };
  const all = new Float32Array(count * PROMPTS.length);
  for (const seed of PROMPTS.keys()) {
    const noise = new TorchGenerator(seed).randn(shape, dtype).data;
    const sampling = createScheduler(config._class_name, config).start(Number(values.steps));
    all.set(sampling.step(new Float32Array(count), 0, noise), seed * count);
  }
  return all;
}

/** Relative RMS of the guided prediction. */
function callError(got: Float32Array, want: Float32Array): number {
  let error = 0;
  let size = 0;
  for (const [i, value] of want.entries()) {
    error += ((got[i] ?? Number.NaN) - value) ** 2;
    size += (value - (unmoved[i] as number)) ** 2;
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
