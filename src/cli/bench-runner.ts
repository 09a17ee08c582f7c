/**
 * Makes the runs of a benchmark: this command itself for halftone, and the peer's command, each as a process that prints one JSON object.
 *
 * Every run quantizes anew, into a cache of its own that is removed afterwards: what the first picture takes is measured, as the peer
 * quantizes each time, and no run finds what another has left.
 */
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type BenchCell,
  type BenchRecipe,
  type BenchRun,
  EngineError,
  HalftoneError,
  parseBenchRun,
  UsageError,
  weightCacheFolder,
} from "../index.ts";
import type { BenchFlags } from "./bench.ts";
import { type EndedProcess, runMeasured } from "./measured-process.ts";

const MAIN = fileURLToPath(new URL("./main.js", import.meta.url));

/** What every run is asked for beside its cell. */
export interface BenchTask {
  readonly model: string;
  readonly prompt: string;
  readonly seed: number | bigint;
  readonly flags: BenchFlags;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** Makes a cell's pictures with `halftone generate`. Errors: what the command said; EngineError when it ended without a word. */
export async function measureHalftone(task: BenchTask, cell: BenchCell): Promise<BenchRun> {
  const { model, prompt, flags, env, signal } = task;
  const folder = await ownFolder();
  try {
    const memory = flags.maxMemory === undefined ? [] : ["--max-memory", String(flags.maxMemory)];
    const words = [
      ...cellWords(cell),
      ...taskWords(task, { ...flags, ...cell.size }),
      ...memory,
      ...(cell.mode === "fast" ? ["--fast"] : []),
    ];
    const output = ["--output", join(folder, "picture.png"), "--json", "--quiet", "--no-metadata"];
    const command = [process.execPath, MAIN, "generate", "--model", model, ...words, ...output, "--", prompt] as const;
    const ended = await runMeasured(command, { env: { ...env, HALFTONE_CACHE: join(folder, "cache") }, signal });
    if (ended.code !== 0) throw complaintOf(ended);
    return withOutside(parseBenchRun(ended.stdout, "halftone generate"), ended);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Makes a cell's pictures with the peer, as halftone was asked to. Errors: EngineError with the last line that it said. */
export async function measurePeer(
  command: readonly [string, ...string[]],
  task: BenchTask,
  cell: BenchCell,
  recipe: BenchRecipe,
): Promise<BenchRun> {
  const { model, prompt, env, signal } = task;
  const words = [...cellWords(cell), ...taskWords(task, { ...recipe, ...cell.size }), `--prompt=${prompt}`];
  const ended = await runMeasured([...command, model, ...words], { env, signal });
  if (ended.code !== 0) throw new EngineError(`the peer ${endText(ended)}: ${lastLine(ended.stderr) ?? "it said nothing"}`);
  return withOutside(parseBenchRun(ended.stdout, "the peer"), ended);
}

/** Flags that differ between cells; halftone and peers read the same. */
function cellWords({ dtype, qtype, exclude, fuseQkv, images }: BenchCell): string[] {
  return [
    ...["--dtype", dtype, "--images", String(images)],
    ...(qtype === null ? [] : ["--qtype", qtype]),
    ...exclude.flatMap((pattern) => ["--exclude", pattern]),
    ...(fuseQkv ? ["--fuse-qkv"] : []),
  ];
}

/** Flags that all cells have. */
function taskWords({ seed, flags }: BenchTask, asked: Pick<BenchFlags, "steps" | "guidanceScale" | "height" | "width">): string[] {
  const { variant, revision, threads, offline } = flags;
  const { steps, guidanceScale, height, width } = asked;
  const values = { seed, steps, "guidance-scale": guidanceScale, height, width, variant, revision, threads };
  const words = Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, String(value)]));
  return [...words, ...(offline === true ? ["--offline"] : [])];
}

/** Time and memory as seen from outside, which count for the whole process; a peer that works in a process of its own knows more of its memory. */
function withOutside(run: BenchRun, { seconds, peakAnonymousBytes, peakResidentBytes }: EndedProcess): BenchRun {
  return {
    ...run,
    commandSeconds: seconds,
    peakAnonymousBytes: larger(peakAnonymousBytes, run.peakAnonymousBytes),
    peakResidentBytes: larger(peakResidentBytes, run.peakResidentBytes),
  };
}

function larger(a: number | null | undefined, b: number | null | undefined): number | undefined {
  const known = [a, b].filter((bytes) => typeof bytes === "number");
  return known.length === 0 ? undefined : Math.max(...known);
}

/** What the command itself printed as its error. */
function complaintOf(ended: EndedProcess): HalftoneError {
  const said = (label: string) => new RegExp(`^${label}: +(.*)$`, "m").exec(ended.stderr)?.[1];
  const message = said("error");
  const details = { where: said("where"), hint: said("hint") };
  if (message === undefined) return new EngineError(`halftone generate ${endText(ended)}: ${lastLine(ended.stderr) ?? "it said nothing"}`);
  return ended.code === 2 ? new UsageError(message, details) : new HalftoneError(message, details);
}

function endText({ code, killedBy }: EndedProcess): string {
  if (killedBy === null) return `ended with exit code ${code}`;
  return killedBy === "SIGKILL" ? "was killed, as the system does when memory runs out" : `was ended by ${killedBy}`;
}

function lastLine(text: string): string | undefined {
  const line = text.trimEnd().split("\n").at(-1)?.trim();
  return line === "" ? undefined : line;
}

/** Where this process's runs leave their files: beside the cache, which lies on a disk. What killed ones left is swept. */
async function ownFolder(): Promise<string> {
  const parent = weightCacheFolder();
  for (const name of await readdir(parent).catch(() => [])) {
    const pid = /^bench-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) await rm(join(parent, name), { recursive: true, force: true });
  }
  const folder = join(parent, `bench-${process.pid}`);
  await mkdir(folder, { recursive: true }).catch((cause: Error) => {
    throw new UsageError(`the execution cache ${JSON.stringify(parent)} cannot be used: ${cause.message}`, {
      hint: "set HALFTONE_CACHE to a folder on a disk",
    });
  });
  return folder;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
