/** halftone bench: time and memory of many settings, each in a process of its own, beside a peer's if one is named. */
import { existsSync } from "node:fs";
import { type BenchReport, type BenchRow, type BenchSize, type ComputeDType, UsageError } from "../index.ts";
import { measureHalftone, measurePeer } from "./bench-runner.ts";
import { commandWords } from "./command-words.ts";
import { printResult } from "./print-result.ts";
import { createProgress } from "./progress.ts";
import type { Surroundings } from "./surroundings.ts";
import { table } from "./table.ts";
import { bytesText, secondsText } from "./units.ts";

/** Flags of `halftone bench`. */
export interface BenchFlags {
  readonly dtype?: readonly ComputeDType[];
  readonly qtype?: readonly string[];
  readonly exclude?: readonly string[];
  readonly fuseQkv?: boolean;
  readonly fast?: boolean;
  readonly size?: readonly BenchSize[];
  readonly images?: readonly number[];
  readonly height?: number;
  readonly width?: number;
  readonly steps?: number;
  readonly guidanceScale?: number;
  readonly prompt?: string;
  readonly seed?: number | bigint;
  readonly runs?: number;
  readonly maxMemory?: number;
  readonly threads?: number;
  readonly variant?: string;
  readonly revision?: string;
  readonly offline?: boolean;
  readonly peers?: string;
  readonly peerDtype?: readonly ComputeDType[];
  readonly output?: string;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const DEFAULT_OUTPUT = "halftone-bench";
/** What is drawn does not change what it takes. */
const DEFAULT_PROMPT = "a small cactus with a happy face in the Sahara desert";

/** Runs the command; errors as the library's. */
export async function bench(model: string | undefined, flags: BenchFlags, { library, terminal, signal }: Surroundings): Promise<void> {
  const { dtype, qtype, exclude, fuseQkv, fast, size, images, peerDtype, runs, force, quiet, peers } = flags;
  const { output = DEFAULT_OUTPUT, prompt = DEFAULT_PROMPT, seed = 0 } = flags;
  const peer = peers === undefined ? undefined : peerCommand(peers);
  const task = { model: model ?? library.demoModelFolder, prompt, seed, flags, env: terminal.env, signal };
  const progress = await createProgress(terminal, quiet === true);
  const { report } = await library
    .runBenchmark({
      dtypes: dtype,
      qtypes: qtype,
      exclude,
      fuseQkv,
      fast,
      sizes: size,
      images,
      peerDtypes: peerDtype,
      runs,
      output,
      force,
      signal,
      measure: (cell) => measureHalftone(task, cell),
      measurePeer: peer && ((cell, recipe) => measurePeer(peer, task, cell, recipe)),
      settings: settingsOf(flags),
      onEvent: (event) => progress.show(event),
    })
    .finally(() => progress.stop());
  printResult(terminal, flags, { object: report, summary: `${output}\n${summary(report)}`, names: [output] });
}

/** A program that is not there is misuse: halftone's first run would be in vain. One without a folder is looked for by the system. */
function peerCommand(text: string): readonly [string, ...string[]] {
  const words = commandWords(text, "--peers");
  const [program] = words;
  if (/[\\/]/.test(program) && !existsSync(program))
    throw new UsageError(`--peers expects a command, but there is no ${JSON.stringify(program)}`, {
      hint: "in a clone, reference/setup.sh makes .venv/bin/python for reference/peer.py",
    });
  return words;
}

/** What a figure also depends on, as far as it was said. */
function settingsOf({ threads, maxMemory, variant, revision, peers }: BenchFlags): Record<string, string | number> {
  const settings = { threads, maxMemory, variant, revision, peers };
  return Object.fromEntries(Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}

/** A line for each row: setting, latency, time of a step, peak memory. */
function summary({ rows, peer }: BenchReport): string {
  const lines = rows.map((row) => [row.tool === "halftone" ? row.tool : (peer?.name ?? row.tool), row.name, ...figures(row)]);
  return table(lines, [2, 3]);
}

function figures({ summary: found, failure }: BenchRow): string[] {
  if (found === null) return ["", "", `failed: ${failure}`];
  const { seconds, secondsPerStep, peakAnonymousBytes, peakResidentBytes } = found;
  const peaks = [peakAnonymousBytes, peakResidentBytes].flatMap((peak) => (peak === undefined ? [] : bytesText(peak.median)));
  const pace = secondsPerStep === undefined ? "" : `${stepText(secondsPerStep.median)}/step`;
  return [secondsText(seconds.median), pace, peaks.length === 0 ? "" : `peak ${peaks.join(" / ")}`];
}

/** Small models take milliseconds. */
function stepText(seconds: number): string {
  return seconds < 0.0995 ? `${(1000 * seconds).toFixed(1)} ms` : secondsText(seconds);
}
