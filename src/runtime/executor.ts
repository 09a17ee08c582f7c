/**
 * Runs a model whose segments are spread over programs, and owns those programs.
 *
 * "resident": programs are compiled once and kept until dispose(). "streamed": each is compiled, run and released in turn, so that no more
 * than one segment is held at a time; what it reads stays file-backed pages that the system may drop.
 */
import { CancelledError } from "../errors.ts";
import { type BuiltSegments, buildGraphs, type ModelGraph } from "../graph/segment.ts";
import { isFloat } from "../tensor/dtype.ts";
import { elementCount, type Tensor } from "../tensor/tensor.ts";
import type { Program, Runtime } from "./runtime.ts";

/** How a model is held in memory. */
export interface HoldPlan {
  readonly hold: "resident" | "streamed";
  /** Segments that share a program. */
  readonly segmentsPerProgram: number;
}

/** What a run reports and obeys. */
export interface RunOptions {
  signal?: AbortSignal | undefined;
  /** Called before each program runs, with the number of segments done. */
  onSegment?: ((done: number, total: number) => void) | undefined;
}

/** A model compiled for one size. */
export class Executor {
  private readonly runtime: Runtime;
  private readonly plan: HoldPlan;
  private readonly pieces: { readonly built: BuiltSegments; program: Program | undefined }[];
  private readonly total: number;
  private readonly outputs: readonly string[];

  constructor(runtime: Runtime, model: ModelGraph, plan: HoldPlan) {
    this.runtime = runtime;
    this.plan = plan;
    this.pieces = buildGraphs(model, plan.segmentsPerProgram).map((built) => ({ built, program: undefined }));
    this.total = model.segments.length;
    this.outputs = model.outputs;
  }

  /** Compiles what is held between runs; a first run does it too. */
  async prepare(options: RunOptions = {}): Promise<void> {
    if (this.plan.hold === "streamed") return;
    let done = 0;
    for (const piece of this.pieces) {
      await checkpointForCancel(options.signal);
      options.onSegment?.(done, this.total);
      piece.program ??= await this.compile(piece.built);
      done += piece.built.names.length;
    }
  }

  /**
   * One call of the model.
   *
   * Errors: CancelledError at the next segment after the signal fired.
   */
  async run(inputs: Readonly<Record<string, Tensor>>, options: RunOptions = {}): Promise<Record<string, Tensor>> {
    const state: Record<string, Tensor> = { ...inputs };
    let done = 0;
    for (const [i, piece] of this.pieces.entries()) {
      await checkpointForCancel(options.signal);
      options.onSegment?.(done, this.total);
      const program = piece.program ?? (await this.compile(piece.built));
      if (this.plan.hold === "resident") piece.program = program;
      try {
        Object.assign(state, await program.run(pick(state, piece.built)));
      } finally {
        if (this.plan.hold === "streamed") await program.dispose();
      }
      this.dropUnused(state, i);
      done += piece.built.names.length;
    }
    return Object.fromEntries(this.outputs.map((name) => [name, state[name] as Tensor]));
  }

  /** Releases every program; the executor may be used again, at the cost of compiling. */
  async dispose(): Promise<void> {
    for (const piece of this.pieces) {
      await piece.program?.dispose();
      piece.program = undefined;
    }
  }

  private compile(built: BuiltSegments): Promise<Program> {
    return this.runtime.compile(built.graph, { keepScratchMemory: this.plan.hold === "streamed" || this.pieces.length === 1 });
  }

  private dropUnused(state: Record<string, Tensor>, after: number): void {
    const needed = new Set([
      ...this.outputs,
      ...this.pieces.slice(after + 1).flatMap(({ built }) => built.graph.inputs.map(({ name }) => name)),
    ]);
    for (const name of Object.keys(state)) if (!needed.has(name)) delete state[name];
  }
}

/** Bytes that a model's weights take when widened to float32: what decides whether it is worth splitting. */
export function widenedWeightBytes(model: ModelGraph): number {
  const seen = new Map<string, number>();
  for (const { graph } of buildGraphs(model, model.segments.length)) {
    for (const { name, dtype, shape } of graph.weights.values()) if (isFloat(dtype)) seen.set(name, 4 * elementCount(shape));
  }
  return Array.from(seen.values()).reduce((sum, bytes) => sum + bytes, 0);
}

function pick(state: Readonly<Record<string, Tensor>>, built: BuiltSegments): Record<string, Tensor> {
  return Object.fromEntries(built.graph.inputs.map(({ name }) => [name, state[name] as Tensor]));
}

/** Lets timers, signals and progress run (the engine blocks the thread while it works), then stops if asked to. */
async function checkpointForCancel(signal: AbortSignal | undefined): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
  if (signal?.aborted) throw new CancelledError("stopped on request", { cause: signal.reason });
}
