/**
 * Runs a model whose segments are spread over programs, and owns those programs.
 *
 * "resident": programs are compiled once and kept until dispose(). "streamed": each is compiled, run and released in turn, so that no more
 * than one, of a few segments, is held at a time; what it reads stays file-backed pages that the system may drop. A run is an async generator of its
 * progress, so that the caller sees every segment, and stops between two of them by returning.
 */
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import { CancelledError } from "../errors.ts";
import { type ModelGraph, type ModelPiece, modelPieces } from "../graph/segment.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type HoldPlan, neededAfter, type PlannedHold, planHold, predictPeak } from "./hold-plan.ts";
import type { Program, Runtime } from "./runtime.ts";

export type { HoldPlan } from "./hold-plan.ts";

/** Segments that are finished, of all. */
export interface SegmentProgress {
  readonly done: number;
  readonly total: number;
}

/** A model compiled for one size. */
export class Executor {
  /** How the model is held, and what a call will take. */
  readonly plan: PlannedHold;
  private readonly runtime: Runtime;
  private readonly model: ModelGraph;
  /** Nodes of graphs that were built since garbage was last collected. */
  private compiledNodes = 0;
  private readonly pieces: { readonly piece: ModelPiece; program: Program | undefined }[];

  /** Without a plan, the fastest that fits what the runtime may take. */
  constructor(runtime: Runtime, model: ModelGraph, plan?: HoldPlan) {
    this.runtime = runtime;
    this.model = model;
    this.plan = plan === undefined ? planHold(model, runtime.memory) : { ...plan, peakBytes: predictPeak(model, plan, runtime.memory) };
    this.pieces = modelPieces(model, this.plan.segmentsPerProgram).map((piece) => ({ piece, program: undefined }));
  }

  /**
   * One call of the model; yields before each program runs, returns the outputs.
   *
   * Errors: CancelledError at the next segment after the signal was raised.
   */
  async *run(inputs: Readonly<Record<string, Tensor>>, signal?: AbortSignal): AsyncGenerator<SegmentProgress, Record<string, Tensor>> {
    const state: Record<string, Tensor> = { ...inputs };
    const total = this.model.segments.length;
    let done = 0;
    for (const [i, held] of this.pieces.entries()) {
      yield { done, total };
      await letOthersRun(this.runtime, signal);
      this.prefetchAfter(i);
      Object.assign(state, await this.runPiece(held, state));
      this.dropUnused(state, i);
      done += held.piece.names.length;
    }
    yield { done, total };
    return Object.fromEntries(this.model.outputs.map((name) => [name, state[name] as Tensor]));
  }

  /** Releases every program; the executor may be used again, at the cost of compiling. */
  async dispose(): Promise<void> {
    for (const piece of this.pieces) {
      await piece.program?.dispose();
      piece.program = undefined;
    }
  }

  private async runPiece(held: Executor["pieces"][number], state: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> {
    const keep = this.plan.hold === "resident";
    const program = held.program ?? (await this.compile(held.piece, !keep || this.pieces.length === 1));
    if (keep) held.program = program;
    try {
      return await program.run(Object.fromEntries(held.piece.inputs.map((name) => [name, state[name] as Tensor])));
    } finally {
      if (!keep) await program.dispose();
    }
  }

  /** While a program runs, the next one's weights are read; after the last comes the first, where the model is called again and again. */
  private prefetchAfter(index: number): void {
    const isLast = index === this.pieces.length - 1;
    const next = this.pieces[isLast ? 0 : index + 1];
    if (next === undefined || this.pieces.length === 1 || (isLast && this.runtime.memory?.isRepeated !== true)) return;
    this.runtime.prefetch?.(weightsOf(next.piece));
  }

  /** Graphs of thousands of nodes leave tens of megabytes of garbage behind, which are not to lie beside the engine's. */
  private async compile(piece: ModelPiece, keepScratchMemory: boolean): Promise<Program> {
    const graph = piece.build();
    const program = await this.runtime.compile(graph, { keepScratchMemory });
    this.compiledNodes += graph.nodes.length;
    if (this.compiledNodes >= COLLECTED_FROM_NODES) this.collectGarbage();
    return program;
  }

  private collectGarbage(): void {
    this.compiledNodes = 0;
    this.runtime.collectGarbage?.();
  }

  /** What is dropped is given back before the next program asks for memory, not when the collector comes by. */
  private dropUnused(state: Record<string, Tensor>, after: number): void {
    const needed = neededAfter(
      this.model,
      this.pieces.map(({ piece }) => piece),
      after,
    );
    let droppedBytes = 0;
    for (const [name, tensor] of Object.entries(state)) {
      if (needed.has(name)) continue;
      delete state[name];
      droppedBytes += tensor.data.byteLength;
    }
    if (droppedBytes >= COLLECTED_FROM_BYTES) this.collectGarbage();
  }
}

/** Built only if somebody looks. */
function* weightsOf(piece: ModelPiece): Generator<StoredTensor> {
  yield* piece.build().weights.values();
}

/** A collection takes 5 to 20 ms; what is smaller may wait for the next. */
const COLLECTED_FROM_BYTES = 16e6;
const COLLECTED_FROM_NODES = 1000;

/** Runs a generator to its end and returns its result, for callers who do not want progress. */
export async function finish<T>(generator: AsyncGenerator<unknown, T>): Promise<T> {
  for (;;) {
    const { done, value } = await generator.next();
    if (done) return value as T;
  }
}

/**
 * The engine blocks the thread while it works: here timers, signals and progress get their turn.
 *
 * Errors: CancelledError if the signal was raised.
 */
export async function letOthersRun({ nextTurn }: Runtime, signal: AbortSignal | undefined): Promise<void> {
  await (nextTurn?.() ?? new Promise((resolve) => setTimeout(resolve, 0)));
  if (signal?.aborted) throw new CancelledError("stopped on request", { cause: signal.reason });
}
