/**
 * A whole picture from a true-size checkpoint: seconds and peak memory of each phase, halftone and diffusers one after the other.
 *
 * usage: node bench/true-size.ts MODEL [--python PYTHON] [--size 512] [--steps 2] [--dtype float32] [--qtype SPEC]
 *        [--t5-dtype bfloat16] [--name NAME]
 * Writes bench/results/NAME.json and prints a Markdown table. Node 22.18 or newer, after `npm run build`; the checkpoint comes from
 * reference/true_size.py.
 */
import { execFileSync, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { describeRun } from "./machine.ts";
import { Sampler } from "./sampler.ts";

interface PhaseResult {
  readonly phase: string;
  readonly seconds: number;
  readonly peakAnonymousBytes: number;
  readonly peakResidentBytes: number;
  readonly stepSeconds?: readonly number[];
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string" },
    size: { type: "string", default: "512" },
    steps: { type: "string", default: "2" },
    dtype: { type: "string", default: "float32" },
    qtype: { type: "string" },
    "t5-dtype": { type: "string", default: "bfloat16" },
    name: { type: "string", default: "true-size" },
  },
});
const [model] = positionals;
if (model === undefined) throw new Error("usage: node bench/true-size.ts MODEL [--python PYTHON] …");

const halftone = await runHalftone(model);
const diffusers = values.python === undefined ? undefined : runDiffusers(values.python, model);
const result = { run: describeRun(), settings: { ...values, python: undefined, model: path.basename(model) }, halftone, diffusers };
writeFileSync(`bench/results/${values.name}.json`, `${JSON.stringify(result, undefined, 2)}\n`);
console.log(table("halftone", halftone));
if (diffusers !== undefined) console.log(table("diffusers", diffusers.phases));

async function runHalftone(folder: string): Promise<PhaseResult[]> {
  const child = spawn(
    process.execPath,
    ["bench/one-picture.ts", folder, values.size, values.steps, values.dtype, ...(values.qtype ? [values.qtype] : [])],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
  const sampler = new Sampler(child.pid ?? 0);
  const phases: PhaseResult[] = [];
  let before = Date.now();
  for await (const line of createInterface({ input: child.stdout })) {
    const { at, phase, stepSeconds } = JSON.parse(line) as { at: number; phase: string; stepSeconds?: number[] };
    const { anonymousBytes, residentBytes } = sampler.peak(before, at);
    const measured = { phase, seconds: (at - before) / 1000, peakAnonymousBytes: anonymousBytes, peakResidentBytes: residentBytes };
    if (phase !== "start") phases.push(stepSeconds === undefined ? measured : { ...measured, stepSeconds });
    before = at;
  }
  sampler.stop();
  if ((await ended) !== 0) throw new Error("the picture failed");
  return phases;
}

function runDiffusers(python: string, folder: string): { phases: PhaseResult[] } {
  const options = ["--steps", values.steps, "--height", values.size, "--width", values.size, "--dtype", values.dtype];
  const output = execFileSync(python, ["reference/run_diffusers.py", folder, ...options, "--t5-dtype", values["t5-dtype"]], {
    encoding: "utf8",
    maxBuffer: 2 ** 26,
  });
  return JSON.parse(output) as { phases: PhaseResult[] };
}

function table(name: string, phases: readonly PhaseResult[]): string {
  const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2);
  const rows = phases.map(
    ({ phase, seconds, peakAnonymousBytes, peakResidentBytes }) =>
      `| ${phase} | ${seconds.toFixed(1)} | ${gigabytes(peakAnonymousBytes)} | ${gigabytes(peakResidentBytes)} |`,
  );
  return [`| ${name} | seconds | peak anonymous, GB | peak resident, GB |`, "|---|---|---|---|", ...rows, ""].join("\n");
}
