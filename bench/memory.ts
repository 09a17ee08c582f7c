/**
 * Pictures from true-size checkpoints inside memory cgroups: predicted and measured peaks of each phase, each run in a process of its own;
 * and the same pictures by diffusers and Quanto, where they fit this machine.
 *
 * usage: node bench/memory.ts FOLDER [ROW...] [--peer ".venv/bin/python reference/peer.py"] [--report]
 * FOLDER holds the checkpoints that reference/true_size.py writes (pixart, sd3, auraflow). Results are kept row by row in
 * bench/results/memory.json; a row that is there is not run again unless it is named, or lacks the twin that --peer asks for. --report only
 * writes docs/pictures/memory.svg and prints the tables. Needs Linux, root (for the cgroup), Node 22.18 or newer, `npm run build`;
 * HALFTONE_CACHE on a disk.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { freemem } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import type { PhaseReport } from "halftone";
import { type EndedProcess, runMeasured } from "../src/cli/measured-process.ts";
import { type BenchRun, parseBenchRun } from "../src/pipelines/bench/bench-run.ts";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import { type CgroupUsage, limitedCgroup } from "./cgroup.ts";
import { memoryPlot, memoryTable, twinTable } from "./memory-report.ts";
import { MEMORY_ROWS, type MemoryRow } from "./memory-rows.ts";

const RESULTS = "bench/results/memory.json";
/** Of what is free, what a twin may take: a machine that is full stops everything. */
const TWIN_SHARE = 0.95;

/** A process, seen from outside. */
interface Outside {
  readonly peakAnonymousBytes: number | undefined;
  readonly peakResidentBytes: number | undefined;
  /** From its start to its end. */
  readonly seconds: number;
  readonly cgroup: CgroupUsage;
}

/** The picture by diffusers and Quanto; without a run, why there is none. */
export interface TwinResult extends Outside {
  readonly limitBytes: number;
  readonly run?: BenchRun;
  readonly failure?: string;
}

/** What a row gave. */
export interface MemoryResult extends Outside {
  readonly run: Record<string, unknown>;
  readonly row: MemoryRow;
  readonly phases: readonly PhaseReport[];
  readonly stepSeconds: readonly number[];
  readonly exitCode: number | null;
  readonly twin?: TwinResult;
}

const options = { report: { type: "boolean", default: false }, peer: { type: "string" } } as const;
const { values, positionals } = parseArgs({ allowPositionals: true, options });
const [folder = "", ...names] = positionals;
const peer = values.peer?.split(" ");
const results: Record<string, MemoryResult> = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, "utf8")) : {};
for (const row of values.report ? [] : MEMORY_ROWS) {
  if (!isWanted(row) || !existsSync(path.join(folder, row.checkpoint, "model_index.json"))) continue;
  console.log(`== ${row.name}`);
  const prepared = await runMeasured(halftone({ ...row, prepareOnly: true }), context());
  if (prepared.code !== 0) throw new Error(`${row.name} cannot be prepared: ${prepared.stderr}`);
  const result = await measure(row);
  // Without --peer an earlier twin stays: nothing of halftone's changes it.
  const twin = peer === undefined || row.twin === undefined ? results[row.name]?.twin : await measureTwin(row, peer);
  results[row.name] = { ...result, ...(twin === undefined ? {} : { twin }) };
  writeFileSync(RESULTS, `${JSON.stringify(results, undefined, 2)}\n`);
}
// In the order of the rows, whichever was run last.
const ordered = MEMORY_ROWS.flatMap(({ name }) => results[name] ?? []);
writeFileSync("docs/pictures/memory.svg", memoryPlot(ordered));
console.log(`${memoryTable(ordered)}\n\n${twinTable(ordered)}`);

function isWanted(row: MemoryRow): boolean {
  if (names.length > 0) return names.includes(row.name);
  const found = results[row.name];
  return found === undefined || (peer !== undefined && row.twin !== undefined && found.twin === undefined);
}

async function measure(row: MemoryRow): Promise<MemoryResult> {
  const run = describeMachine();
  const { ended, outside } = await runInside(row.budgetBytes, halftone(row));
  const lines = ended.stdout.split("\n").filter((line) => line.startsWith("{"));
  const said = lines.map((line) => JSON.parse(line) as { report?: PhaseReport; stepSeconds?: number[] });
  const phases = said.flatMap(({ report }) => report ?? []);
  return { run, row, phases, stepSeconds: said.flatMap(({ stepSeconds = [] }) => stepSeconds), ...outside, exitCode: ended.code };
}

async function measureTwin(row: MemoryRow, command: readonly string[]): Promise<TwinResult> {
  const { size, steps, qtype, twin = [] } = row;
  const quantized = qtype === undefined ? [] : ["--qtype", qtype];
  const asked = ["--height", size, "--width", size, "--steps", steps, ...quantized, ...twin].map(String);
  const limitBytes = Math.floor(TWIN_SHARE * freeBytes());
  const { ended, outside } = await runInside(limitBytes, [...command, path.join(folder, row.checkpoint), ...asked]);
  if (ended.code === 0) return { limitBytes, run: parseBenchRun(ended.stdout, "the twin"), ...outside };
  const said = ended.stderr.trimEnd().split("\n").at(-1) ?? "";
  return { limitBytes, failure: ended.killedBy === "SIGKILL" ? "killed: it took more than its limit" : said, ...outside };
}

/** Runs a command in a cgroup; the shell that enters it becomes the process. */
async function runInside(limitBytes: number, command: readonly string[]): Promise<{ ended: EndedProcess; outside: Outside }> {
  const cgroup = limitedCgroup(limitBytes);
  const ended = await runMeasured(["sh", "-c", `${cgroup.enter} && exec "$0" "$@"`, ...command], context());
  if (ended.code !== 0) console.error(ended.stderr);
  const { peakAnonymousBytes, peakResidentBytes, seconds } = ended;
  const outside = { peakAnonymousBytes, peakResidentBytes, seconds, cgroup: cgroup.usage() };
  cgroup.remove();
  return { ended, outside };
}

function halftone(settings: MemoryRow & { prepareOnly?: boolean }): [string, ...string[]] {
  return [process.execPath, "bench/memory-run.ts", JSON.stringify({ ...settings, folder: path.join(folder, settings.checkpoint) })];
}

function context() {
  return { env: process.env, signal: new AbortController().signal };
}

/** Pages of files that can be dropped count as free. */
function freeBytes(): number {
  const kilobytes = /^MemAvailable:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return kilobytes === undefined ? freemem() : Number(kilobytes) * 1024;
}
