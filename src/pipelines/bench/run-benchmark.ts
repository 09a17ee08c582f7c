/**
 * A benchmark: every cell of a matrix several times, in rounds, so that a machine that grows slower on the way does so for all of them.
 *
 * How a run is made is the caller's: the command line starts a process for each, since memory cannot be told apart within one.
 */
import { throwIfCancelled } from "../../checkpoint/cancel.ts";
import { StagedFolder } from "../../checkpoint/staged-folder-node.ts";
import { CancelledError, HalftoneError, UsageError } from "../../errors.ts";
import { type BenchCell, type BenchMatrix, benchCells, cellText, peerCells } from "./bench-cell.ts";
import { benchmarkFiles } from "./bench-files.ts";
import { type BenchReport, type BenchRow, byWork, summaryOf } from "./bench-report.ts";
import type { BenchRecipe, BenchRun } from "./bench-run.ts";
import { describeMachine } from "./machine-node.ts";

/** A run begins (run and failure undefined), or has ended. */
export interface BenchEvent {
  readonly type: "bench";
  readonly tool: "halftone" | "peer";
  readonly cell: BenchCell;
  /** The cell in words. */
  readonly name: string;
  /** 1 … rounds. */
  readonly round: number;
  readonly rounds: number;
  /** Runs that have ended, of all that are planned. */
  readonly done: number;
  readonly total: number;
  readonly run?: BenchRun | undefined;
  readonly failure?: string | undefined;
}

/** How a benchmark is made. */
export interface BenchOptions extends BenchMatrix {
  /** Runs of each cell. Default 3. */
  readonly runs?: number | undefined;
  /** Makes the pictures of a cell and says what it took; a HalftoneError becomes the cell's row. */
  readonly measure: (cell: BenchCell) => Promise<BenchRun>;
  /** The same with the tool that halftone is compared with. */
  readonly measurePeer?: ((cell: BenchCell, recipe: BenchRecipe) => Promise<BenchRun>) | undefined;
  /** Whatever else was asked of every run, for the report. */
  readonly settings?: BenchReport["settings"] | undefined;
  /** Folder to write bench.json, bench.md, latency.svg and memory.svg into; default: nothing is written. */
  readonly output?: string | undefined;
  /** Replaces the folder of an earlier benchmark. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: BenchEvent) => void) | undefined;
}

/** A finished benchmark. */
export interface Benchmark {
  readonly report: BenchReport;
  /** Full name of the folder that was written. */
  readonly output: string | undefined;
}

/**
 * Runs a benchmark. A cell that fails is a row that says why, and is not tried again.
 *
 * Errors: UsageError for a matrix that makes no sense or an output that is taken; what the first cell failed with when none of halftone's works;
 * CancelledError. The output is whole or not there.
 */
export async function runBenchmark(options: BenchOptions): Promise<Benchmark> {
  const { output, force, runs = 3 } = options;
  const cells = benchCells(options);
  const twins = options.measurePeer === undefined ? [] : peerCells(options);
  if (!Number.isSafeInteger(runs) || runs < 1) throw new UsageError(`runs must be a whole number of at least 1, got ${runs}`);
  if (output === undefined) return { report: await runRounds(cells, twins, runs, options), output };
  const staged = await StagedFolder.create(output, { force, kind: { name: "a benchmark", files: ["bench.json"] } });
  try {
    const report = await runRounds(cells, twins, runs, options);
    for (const [name, text] of benchmarkFiles(report)) await staged.writeText(name, text);
    throwIfCancelled(options.signal);
    await staged.finish();
    return { report, output: staged.target };
  } catch (error) {
    await staged.abort();
    throw error;
  }
}

/** A cell under way. */
interface Measured {
  readonly tool: BenchRow["tool"];
  readonly cell: BenchCell;
  readonly runs: BenchRun[];
  failure: HalftoneError | undefined;
}

async function runRounds(
  cells: readonly BenchCell[],
  twins: readonly BenchCell[],
  rounds: number,
  options: BenchOptions,
): Promise<BenchReport> {
  // Before the work: what else the machine is doing then is none of ours.
  const machine = describeMachine();
  const own = cells.map((cell): Measured => ({ tool: "halftone", cell, runs: [], failure: undefined }));
  const peers = twins.map((cell): Measured => ({ tool: "peer", cell, runs: [], failure: undefined }));
  const inOrder = byWork([...own, ...peers]).flat();
  const total = rounds * inOrder.length;
  let recipe: BenchRecipe | undefined;
  let done = 0;
  for (let round = 1; round <= rounds; round++) {
    const queue = [...inOrder];
    for (const measured of queue) {
      recipe ??= recipeOf(own);
      if (recipe === undefined && measured.tool === "peer") {
        // It is told what halftone's defaults are, so it waits until one of halftone's cells has worked.
        queue.push(measured);
        continue;
      }
      if (measured.failure === undefined) await measureOnce(measured, recipe, { round, rounds, done, total }, options);
      if (own.every(({ failure }) => failure !== undefined)) throw own[0]?.failure;
      done++;
    }
  }
  recipe ??= recipeOf(own);
  if (recipe === undefined) throw new Error("a benchmark ended without a run");
  const peer = peers.flatMap(({ runs }) => runs)[0];
  return {
    machine,
    recipe,
    settings: options.settings ?? {},
    runs: rounds,
    peer: peer === undefined ? null : { name: peer.name ?? "peer", versions: peer.versions ?? {} },
    rows: inOrder.map(rowOf),
  };
}

function recipeOf(own: readonly Measured[]): BenchRecipe | undefined {
  return own.flatMap(({ runs }) => runs[0]?.recipe ?? [])[0];
}

async function measureOnce(
  measured: Measured,
  recipe: BenchRecipe | undefined,
  place: Pick<BenchEvent, "round" | "rounds" | "done" | "total">,
  { measure, measurePeer, signal, onEvent }: BenchOptions,
): Promise<void> {
  throwIfCancelled(signal);
  const { tool, cell } = measured;
  const about = { type: "bench", tool, cell, name: cellText(cell) } as const;
  onEvent?.({ ...about, ...place });
  try {
    const isPeer = tool === "peer" && measurePeer !== undefined && recipe !== undefined;
    const run = isPeer ? await measurePeer(cell, recipe) : await measure(cell);
    if (!isPeer && run.recipe === undefined) throw new UsageError("measure() told of no recipe, which says what was asked for");
    measured.runs.push(run);
    onEvent?.({ ...about, ...place, done: place.done + 1, run });
  } catch (error) {
    throwIfCancelled(signal);
    if (!(error instanceof HalftoneError) || error instanceof CancelledError) throw error;
    measured.failure = error;
    onEvent?.({ ...about, ...place, done: place.done + 1, failure: error.message });
  }
}

/** A cell that fails once has no figures: what it took until then is no median of anything. */
function rowOf({ tool, cell, runs, failure }: Measured): BenchRow {
  return {
    tool,
    name: cellText(cell),
    cell,
    runs,
    summary: failure === undefined ? summaryOf(runs) : null,
    failure: failure?.message ?? null,
  };
}
