/**
 * Decoding whole against decoding in strips, maps in memory and in files: peak memory, predicted and measured, time and how far results are
 * apart. Every decoding has a process of its own; the ways take turns.
 *
 * usage: node bench/vae-strips.ts VAE [--sizes 512,1024] [--whole-up-to 1024] [--rounds 2] [--rows 16] [--threads N] (Node 22.18 or newer, after `npm run build`; VAE as
 * reference/true_size.py writes it)
 * Writes bench/results/vae-strips.json and prints a Markdown table.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { AutoencoderKLConfigSchema } from "../src/models/autoencoder-kl/config.ts";
import { modelConfig } from "../src/models/registry.ts";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import { DECODE_WAYS, type DecodeCost, type DecodeWay, decodeCost } from "../src/pipelines/decode-ways.ts";
import { DiffusionModel } from "../src/pipelines/diffusion-model.ts";
import type { DecodeSettings } from "./one-decode.ts";
import { Sampler } from "./sampler.ts";

interface Decoding {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakAnonymousBytes: number;
  readonly anonymousBytesBefore: number;
  readonly anonymousBytesAfter: number;
  readonly peakResidentBytes: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    sizes: { type: "string", default: "512,1024" },
    "whole-up-to": { type: "string", default: "1024" },
    rounds: { type: "string", default: "2" },
    rows: { type: "string", default: "16" },
    threads: { type: "string" },
  },
});
const [vae] = positionals;
if (vae === undefined) throw new Error("usage: node bench/vae-strips.ts VAE …");
const model = await DiffusionModel.fromPretrained(vae);
const decoder = {
  config: modelConfig(AutoencoderKLConfigSchema, model.config, model.part, model.configPath),
  weights: model.weights(),
  dtype: model.dtype,
};
const folder = mkdtempSync(path.join(tmpdir(), "halftone-bench-"));

const wholeUpTo = Number(values["whole-up-to"]);

const run = describeMachine();
const rows: object[] = [];
for (const size of values.sizes.split(",").map(Number)) {
  const isMeasured = (way: DecodeWay) => (way.kind === "whole" ? size <= wholeUpTo : values.rows.split(",").includes(String(way.rows)));
  const costs = DECODE_WAYS.filter(isMeasured).map((way) => decodeCost(decoder, way, size, size));
  const found = costs.map((cost) => ({ ...cost, decodings: [] as Decoding[] }));
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const { way, decodings } of found) decodings.push(await decode(size, way, sampleFile(size, way)));
  }
  for (const { way, decodings, ...cost } of found) rows.push(report(size, { way, ...cost }, decodings));
  writeFileSync("bench/results/vae-strips.json", `${JSON.stringify({ run, settings: values, rows }, undefined, 2)}\n`);
}
rmSync(folder, { recursive: true });
console.table(rows);

function report(size: number, { way, anonymousBytes, fileBytes }: DecodeCost, decodings: readonly Decoding[]): object {
  const best = (of: (decoding: Decoding) => number) => Math.min(...decodings.map(of));
  const took = Math.max(...decodings.map((decoding) => decoding.peakAnonymousBytes - decoding.anonymousBytesBefore));
  const reference = size <= wholeUpTo ? { kind: "whole" as const } : undefined;
  return {
    size,
    way: name(way),
    predictedBytes: anonymousBytes,
    measuredBytes: took,
    peakAnonymousBytes: Math.max(...decodings.map(({ peakAnonymousBytes }) => peakAnonymousBytes)),
    keptBytes: Math.max(...decodings.map((decoding) => decoding.anonymousBytesAfter - decoding.anonymousBytesBefore)),
    peakResidentBytes: Math.max(...decodings.map(({ peakResidentBytes }) => peakResidentBytes)),
    fileBytes,
    seconds: decodings.map(({ seconds }) => Number(seconds.toFixed(2))),
    bestSeconds: best(({ seconds }) => seconds),
    bestCpuSeconds: best(({ cpuSeconds }) => cpuSeconds),
    relativeRms: reference && difference(sampleFile(size, way), sampleFile(size, reference)),
  };
}

async function decode(size: number, way: DecodeWay, output: string): Promise<Decoding> {
  const threads = values.threads === undefined ? undefined : Number(values.threads);
  const settings: DecodeSettings = { vae: vae as string, size, way, threads, output };
  const child = spawn(process.execPath, ["--expose-gc", "bench/one-decode.ts", JSON.stringify(settings)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
  const sampler = new Sampler(child.pid ?? 0);
  const at: Record<string, { at: number; anonymousBytes: number }> = {};
  let cpuSeconds = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as { at: number; phase: string; anonymousBytes: number; cpuSeconds?: number };
    at[said.phase] = said;
    cpuSeconds = said.cpuSeconds ?? cpuSeconds;
  }
  sampler.stop();
  if ((await ended) !== 0) throw new Error(`decoding failed: ${JSON.stringify(settings)}`);
  const { start, decode: end, release } = at;
  if (start === undefined || end === undefined || release === undefined) throw new Error("a decoding ended without its report");
  const peak = sampler.peak(start.at, end.at);
  return {
    seconds: (end.at - start.at) / 1000,
    cpuSeconds,
    peakAnonymousBytes: peak.anonymousBytes,
    anonymousBytesBefore: start.anonymousBytes,
    anonymousBytesAfter: release.anonymousBytes,
    peakResidentBytes: peak.residentBytes,
  };
}

function name(way: DecodeWay): string {
  return way.kind === "whole" ? "whole" : `strips of ${way.rows} rows, maps in ${way.maps}`;
}

function sampleFile(size: number, way: DecodeWay): string {
  return path.join(folder, `${size} ${name(way)}.bin`);
}

function difference(gotFile: string, wantFile: string): number {
  const [got, want] = [gotFile, wantFile].map((file) => new Float32Array(Uint8Array.from(readFileSync(file)).buffer)) as [
    Float32Array,
    Float32Array,
  ];
  let [error, all] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    error += ((got[i] as number) - (want[i] as number)) ** 2;
    all += (want[i] as number) ** 2;
  }
  return Math.sqrt(error / all);
}
