/**
 * Quantizing a true-size part on disk: seconds and peak memory of `halftone quantize` and of Quanto's load + quantize + freeze + save, in
 * turns in one run, and whether both wrote the same bytes.
 *
 * usage: node bench/quantize.ts PART-FOLDER [--python PYTHON] [--qtypes qint8,qint4,qfloat8_e4m3fn] [--dtype float16] [--turns 2]
 *        [--node NODE] [--work FOLDER] [--name NAME]
 * Writes bench/results/NAME.json and prints a Markdown table. Node 22.18 or newer, after `npm run build`; the checkpoint comes from
 * reference/true_size.py. halftone's seconds are those of the whole process, Quanto's leave the imports out; halftone waits for the disk
 * (fsync), Quanto does not.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import { Sampler } from "./sampler.ts";

interface Turn {
  readonly seconds: number;
  readonly processSeconds: number;
  readonly peakResidentBytes: number;
  readonly peakAnonymousBytes: number;
  readonly loadBefore: number | undefined;
  readonly report: unknown;
}

interface Comparison {
  readonly qtype: string;
  readonly halftone: readonly Turn[];
  readonly quanto: readonly Turn[];
  readonly weightBytes: number;
  readonly sameBytes: boolean | undefined;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string" },
    qtypes: { type: "string", default: "qint8,qint4,qfloat8_e4m3fn" },
    dtype: { type: "string", default: "float16" },
    turns: { type: "string", default: "2" },
    node: { type: "string", default: process.execPath },
    work: { type: "string", default: os.tmpdir() },
    name: { type: "string", default: "quantize" },
  },
});
const [part = ""] = positionals;
if (part === "") throw new Error("usage: node bench/quantize.ts PART-FOLDER [--python PYTHON] …");
const work = mkdtempSync(path.join(values.work, "halftone-bench-"));
// Both read from memory: what is measured is the work, not who came first.
for (const file of weightsIn(part)) await hashOf(path.join(part, file));

const comparisons: Comparison[] = [];
try {
  for (const qtype of values.qtypes.split(",")) comparisons.push(await compare(qtype));
} finally {
  rmSync(work, { recursive: true });
}
const settings = { part: path.basename(part), dtype: values.dtype, turns: Number(values.turns) };
const result = { run: describeMachine(), settings, comparisons };
writeFileSync(`bench/results/${values.name}.json`, `${JSON.stringify(result, undefined, 2)}\n`);
console.log(table());

async function compare(qtype: string): Promise<Comparison> {
  const [ours, theirs] = [path.join(work, "halftone"), path.join(work, "quanto")];
  const flags = ["--qtype", qtype, "--dtype", values.dtype, "--output"];
  const halftone: Turn[] = [];
  const quanto: Turn[] = [];
  for (let turn = 0; turn < Number(values.turns); turn++) {
    rmSync(ours, { recursive: true, force: true });
    halftone.push(await run([values.node, "dist/cli/main.js", "quantize", part, ...flags, ours, "--quiet", "--json"], true));
    if (values.python === undefined) continue;
    rmSync(theirs, { recursive: true, force: true });
    quanto.push(await run([values.python, "reference/run_quanto.py", part, ...flags, theirs], false));
  }
  const files = weightsIn(ours);
  const weightBytes = files.reduce((sum, file) => sum + statSync(path.join(ours, file)).size, 0);
  const hashes = async (folder: string) => Promise.all(weightsIn(folder).map((file) => hashOf(path.join(folder, file))));
  const sameBytes = quanto.length === 0 ? undefined : (await hashes(ours)).join() === (await hashes(theirs)).join();
  return { qtype, halftone, quanto, weightBytes, sameBytes };
}

/** Runs a command; its seconds are those it reports, or the whole process's. */
async function run([program = "", ...args]: readonly string[], wholeProcess: boolean): Promise<Turn> {
  const loadBefore = os.loadavg()[0];
  const started = Date.now();
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "ignore"] });
  const sampler = new Sampler(child.pid ?? 0);
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  sampler.stop();
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} failed`);
  const processSeconds = (Date.now() - started) / 1000;
  const report = JSON.parse(output) as { seconds: Record<string, number> | number };
  const phases = typeof report.seconds === "number" ? processSeconds : Object.values(report.seconds).reduce((sum, part) => sum + part, 0);
  const { anonymousBytes, residentBytes } = sampler.peak(started, Date.now());
  return {
    seconds: wholeProcess ? processSeconds : phases,
    processSeconds,
    peakResidentBytes: residentBytes,
    peakAnonymousBytes: anonymousBytes,
    loadBefore,
    report: wholeProcess ? { ...report, output: undefined } : report,
  };
}

function weightsIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".safetensors"))
    .sort();
}

async function hashOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(file, { highWaterMark: 2 ** 22 })) hash.update(piece as Buffer);
  return hash.digest("hex");
}

function table(): string {
  const best = (turns: readonly Turn[]) => Math.min(...turns.map(({ seconds }) => seconds));
  const peak = (turns: readonly Turn[]) => Math.max(...turns.map(({ peakResidentBytes }) => peakResidentBytes));
  const cells = (turns: readonly Turn[]) =>
    turns.length === 0 ? "| | " : `| ${best(turns).toFixed(1)} | ${(peak(turns) / 1e6).toFixed(0)} `;
  const rows = comparisons.map(({ qtype, halftone, quanto, weightBytes, sameBytes }) => {
    return `| ${qtype} | ${(weightBytes / 2 ** 20).toFixed(1)} ${cells(halftone)}${cells(quanto)}| ${sameBytes ?? ""} |`;
  });
  const head = "| qtype | file, MiB | halftone, s | peak, MB | quanto, s | peak, MB | same bytes |";
  return [head, "|---|---|---|---|---|---|---|", ...rows].join("\n");
}
