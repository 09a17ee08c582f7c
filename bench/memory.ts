/**
 * Pictures from true-size checkpoints inside memory cgroups: predicted and measured peaks of each phase, each run in a process of its own.
 *
 * usage: node bench/memory.ts FOLDER [ROW...] [--report]
 * FOLDER holds the checkpoints that reference/true_size.py writes (pixart, sd3, auraflow). Results are kept row by row in
 * bench/results/memory.json; a row that is there is not run again unless it is named. --report only writes docs/pictures/memory.svg and prints
 * the table of docs/memory.md. Needs Linux, root (for the cgroup), Node 22.18 or newer, `npm run build`; HALFTONE_CACHE on a disk.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import type { PhaseReport } from "halftone";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import { limitedCgroup } from "./cgroup.ts";
import { memoryPlot, memoryTable } from "./memory-report.ts";
import { MEMORY_ROWS, type MemoryRow } from "./memory-rows.ts";
import { Sampler } from "./sampler.ts";

const RESULTS = "bench/results/memory.json";

/** What a row gave. */
export interface MemoryResult {
  readonly run: Record<string, unknown>;
  readonly row: MemoryRow;
  readonly phases: readonly PhaseReport[];
  readonly stepSeconds: readonly number[];
  /** Seen from outside. */
  readonly peakAnonymousBytes: number;
  readonly peakResidentBytes: number;
  /** The cgroup's own: anonymous memory and pages of files. */
  readonly cgroup: { readonly maxBytes: number; readonly limitHits: number };
  readonly exitCode: number | null;
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { report: { type: "boolean", default: false } } });
const [folder = "", ...names] = positionals;
const results: Record<string, MemoryResult> = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, "utf8")) : {};
for (const row of values.report ? [] : MEMORY_ROWS) {
  const isWanted = names.length === 0 ? results[row.name] === undefined : names.includes(row.name);
  if (!isWanted || !existsSync(path.join(folder, row.checkpoint, "model_index.json"))) continue;
  console.log(`== ${row.name}`);
  await start({ ...row, prepareOnly: true }).ended;
  results[row.name] = await measure(row);
  writeFileSync(RESULTS, `${JSON.stringify(results, undefined, 2)}\n`);
}
writeFileSync("docs/pictures/memory.svg", memoryPlot(Object.values(results)));
console.log(memoryTable(Object.values(results)));

async function measure(row: MemoryRow): Promise<MemoryResult> {
  const run = describeMachine();
  const cgroup = limitedCgroup(row.budgetBytes);
  const { child, ended } = start(row, cgroup.enter);
  const sampler = new Sampler(child.pid ?? 0);
  const phases: PhaseReport[] = [];
  const stepSeconds: number[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const found = JSON.parse(line) as { event: string; report?: PhaseReport; stepSeconds?: number[] };
    if (found.report !== undefined) phases.push(found.report);
    stepSeconds.push(...(found.stepSeconds ?? []));
  }
  const exitCode = await ended;
  sampler.stop();
  const { anonymousBytes, residentBytes } = sampler.peak(0, Date.now());
  const usage = cgroup.usage();
  cgroup.remove();
  return { run, row, phases, stepSeconds, peakAnonymousBytes: anonymousBytes, peakResidentBytes: residentBytes, cgroup: usage, exitCode };
}

/** Runs bench/memory-run.ts; the shell that enters the cgroup becomes the process. */
function start(settings: MemoryRow & { prepareOnly?: boolean }, enter = "true") {
  const script = `${enter} && exec "$0" bench/memory-run.ts "$1"`;
  const text = JSON.stringify({ ...settings, folder: path.join(folder, settings.checkpoint) });
  const child = spawn("sh", ["-c", script, process.execPath, text], { stdio: ["ignore", "pipe", "inherit"] });
  return { child, ended: new Promise<number | null>((resolve) => child.on("exit", resolve)) };
}
