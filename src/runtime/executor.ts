/**
 * Runs a model whose segments are spread over programs, and owns those programs.
 *
 * "resident": programs are compiled once and kept until dispose(). "streamed": each is compiled, run and released in turn, so that no more
 * than one segment is held at a time; what it reads stays file-backed pages that the system may drop. A run is an async generator of its
 * progress, so that the caller sees every segment, and stops between two of them by returning.
 */
import { CancelledError } from "../errors.ts";
import { type BuiltSegments, buildGraphs, type ModelGraph } from "../graph/segment.ts";
import { elementCount, type Tensor } from "../tensor/tensor.ts";
import type { Program, Runtime } from "./runtime.ts";

/** How a model is held in memory. */
export interface HoldPlan {
  readonly hold: "resident" | "streamed";
  /** Segments that share a program. */
  readonly segmentsPerProgram: number;
}

/** Segments that are finished, of all. */
export interface SegmentProgress {
  readonly done: number;
  readonly total: number;
}

/** Up to this many bytes of widened weights a model is compiled whole; beyond, it is streamed segment by segment. */
const WHOLE_UP_TO_BYTES = 256 * 1024 * 1024;

/**
 * How a model is held until a planner decides by budget: small ones whole, large ones segment by segment.
 *
 * Streaming a large part costs a fifth of its time and saves more than half of its memory: bench/segments.
 */
function defaultHoldPlan(model: ModelGraph): HoldPlan {
  const small = widenedWeightBytes(model) <= WHOLE_UP_TO_BYTES;
  return small ? { hold: "resident", segmentsPerProgram: model.segments.length } : { hold: "streamed", segmentsPerProgram: 1 };
}

/** A model compiled for one size. */
export class Executor {
  private readonly runtime: Runtime;
  private readonly plan: HoldPlan;
  private readonly pieces: { readonly built: BuiltSegments; program: Program | undefined }[];
  private readonly total: number;
  private readonly outputs: readonly string[];

  constructor(runtime: Runtime, model: ModelGraph, plan: HoldPlan = defaultHoldPlan(model)) {
    this.runtime = runtime;
    this.plan = plan;
    this.pieces = buildGraphs(model, plan.segmentsPerProgram).map((built) => ({ built, program: undefined }));
    this.total = model.segments.length;
    this.outputs = model.outputs;
  }

  /**
   * One call of the model; yields before each program runs, returns the outputs.
   *
   * Errors: CancelledError at the next segment after the signal was raised.
   */
  async *run(inputs: Readonly<Record<string, Tensor>>, signal?: AbortSignal): AsyncGenerator<SegmentProgress, Record<string, Tensor>> {
    const state: Record<string, Tensor> = { ...inputs };
    let done = 0;
    for (const [i, piece] of this.pieces.entries()) {
      yield { done, total: this.total };
      await letOthersRun(signal);
      Object.assign(state, await this.runPiece(piece, state));
      this.dropUnused(state, i);
      done += piece.built.names.length;
    }
    yield { done, total: this.total };
    return Object.fromEntries(this.outputs.map((name) => [name, state[name] as Tensor]));
  }

  /** Releases every program; the executor may be used again, at the cost of compiling. */
  async dispose(): Promise<void> {
    for (const piece of this.pieces) {
      await piece.program?.dispose();
      piece.program = undefined;
    }
  }

  private async runPiece(piece: Executor["pieces"][number], state: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
    const keep = this.plan.hold === "resident";
    const program =
      piece.program ?? (await this.runtime.compile(piece.built.graph, { keepScratchMemory: !keep || this.pieces.length === 1 }));
    if (keep) piece.program = program;
    try {
      return await program.run(Object.fromEntries(piece.built.graph.inputs.map(({ name }) => [name, state[name] as Tensor])));
    } finally {
      if (!keep) await program.dispose();
    }
  }

  private dropUnused(state: Record<string, Tensor>, after: number): void {
    const later = this.pieces.slice(after + 1).flatMap(({ built }) => built.graph.inputs.map(({ name }) => name));
    const needed = new Set([...this.outputs, ...later]);
    for (const name of Object.keys(state)) if (!needed.has(name)) delete state[name];
  }
}

/** Runs a generator to its end and returns its result, for callers who do not want progress. */
export async function finish<T>(generator: AsyncGenerator<unknown, T>): Promise<T> {
  for (;;) {
    const { done, value } = await generator.next();
    if (done) return value as T;
  }
}

/** Bytes that a model's weights take when widened to float32: what decides whether it is worth splitting. */
function widenedWeightBytes(model: ModelGraph): number {
  const [whole] = buildGraphs(model, model.segments.length);
  const weights = Array.from(whole?.graph.weights.values() ?? []);
  // Codes of 4 and 2 bits lie two and more to a byte; a rough count will do here.
  return weights.reduce((sum, { dtype, shape }) => sum + (dtype === "uint8" ? 8 : 4) * elementCount(shape), 0);
}

/**
 * The engine blocks the thread while it works: here timers, signals and progress get their turn.
 *
 * Errors: CancelledError if the signal was raised.
 */
export async function letOthersRun(signal: AbortSignal | undefined): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
  if (signal?.aborted) throw new CancelledError("stopped on request", { cause: signal.reason });
}
