/** What a benchmark finds: plain data, which is also bench.json. Seconds, bytes. */
import { type BenchCell, isSameWork } from "./bench-cell.ts";
import type { BenchRecipe, BenchRun } from "./bench-run.ts";
import { median, type Spread, spreadOf } from "./statistics.ts";

/** One phase over the runs of a cell. */
export interface PhaseSummary {
  readonly seconds: Spread;
  /** As the tool itself saw it; undefined where it did not. */
  readonly peakAnonymousBytes: Spread | undefined;
  readonly peakResidentBytes: Spread | undefined;
}

/** Median and spread over the runs of a cell; undefined where no run has the figure. */
export interface BenchSummary {
  /** Encode, denoise and decode together: what a caller waits for with the model open. */
  readonly seconds: Spread;
  /** Of each run the median of its steps. */
  readonly secondsPerStep: Spread | undefined;
  readonly loadSeconds: Spread;
  readonly quantizeSeconds: Spread;
  /** "encode", "denoise" and "decode". */
  readonly phases: Readonly<Record<string, PhaseSummary>>;
  /** From the start of the process to its end. */
  readonly commandSeconds: Spread | undefined;
  /** Of the whole process. */
  readonly peakAnonymousBytes: Spread | undefined;
  readonly peakResidentBytes: Spread | undefined;
  /** Of all parts. */
  readonly weightBytes: number;
}

/** A cell that was measured, or could not be. */
export interface BenchRow {
  readonly tool: "halftone" | "peer";
  /** The cell in words: "qint8, 4 images, float32". */
  readonly name: string;
  readonly cell: BenchCell;
  readonly runs: readonly BenchRun[];
  /** null where a run failed. */
  readonly summary: BenchSummary | null;
  /** Why, in one sentence. */
  readonly failure: string | null;
}

/** Machine, versions and commit: without them a figure means nothing. */
export type MachineReport = Readonly<Record<string, string | number | boolean | readonly string[] | null>>;

/** The whole benchmark. */
export interface BenchReport {
  readonly machine: MachineReport;
  /** Of the first run that worked; a cell with a size of its own has that one. */
  readonly recipe: BenchRecipe;
  /** Whatever else was asked of every run: threads, a memory limit. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
  /** Runs of each cell. */
  readonly runs: number;
  /** The peer's name and versions, from its own mouth; null without one, or where it never worked. */
  readonly peer: { readonly name: string; readonly versions: Readonly<Record<string, string>> } | null;
  readonly rows: readonly BenchRow[];
}

/** Puts together what is compared: the same work by every tool, in the order of the first of each. */
export function byWork<T extends { readonly cell: BenchCell }>(rows: readonly T[]): [T, ...T[]][] {
  const groups: [T, ...T[]][] = [];
  for (const row of rows) {
    const group = groups.find(([first]) => isSameWork(first.cell, row.cell));
    if (group === undefined) groups.push([row]);
    else group.push(row);
  }
  return groups;
}

/** What the runs of a cell say together; null for none. */
export function summaryOf(runs: readonly BenchRun[]): BenchSummary | null {
  const [first] = runs;
  if (first === undefined) return null;
  const spread = (figure: (run: BenchRun) => number | null | undefined) => spreadOf(runs.flatMap((run) => figure(run) ?? []));
  const always = (figure: (run: BenchRun) => number) => spread(figure) as Spread;
  const phases = [...new Set(runs.flatMap((run) => run.phases.map(({ phase }) => phase)))];
  return {
    seconds: always((run) => sum(run.phases.map(({ seconds }) => seconds))),
    secondsPerStep: spread((run) => median(run.stepSeconds)),
    loadSeconds: always(({ loadSeconds }) => loadSeconds),
    quantizeSeconds: always(({ quantizeSeconds }) => quantizeSeconds),
    phases: Object.fromEntries(phases.map((name) => [name, phaseSummary(runs, name)])),
    commandSeconds: spread(({ commandSeconds }) => commandSeconds),
    peakAnonymousBytes: spread(({ peakAnonymousBytes }) => peakAnonymousBytes),
    peakResidentBytes: spread(({ peakResidentBytes }) => peakResidentBytes),
    weightBytes: sum(Object.values(first.weightBytes)),
  };
}

/** A phase may come in pieces: seconds add up, of peaks the highest counts. */
function phaseSummary(runs: readonly BenchRun[], name: string): PhaseSummary {
  const pieces = runs.map(({ phases }) => phases.filter(({ phase }) => phase === name));
  const peak = (key: "peakAnonymousBytes" | "peakResidentBytes") => {
    const peaks = pieces.map((own) => own.flatMap((piece) => piece[key] ?? []));
    return spreadOf(peaks.flatMap((own) => (own.length === 0 ? [] : Math.max(...own))));
  };
  return {
    seconds: spreadOf(pieces.map((own) => sum(own.map(({ seconds }) => seconds)))) as Spread,
    peakAnonymousBytes: peak("peakAnonymousBytes"),
    peakResidentBytes: peak("peakResidentBytes"),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
