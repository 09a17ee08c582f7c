/**
 * The seam to the engine: a runtime compiles graphs, a program runs one. Every implementation passes runtime.contract.ts.
 */
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { Graph } from "../graph/graph.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { HoldOptions } from "./hold-plan.ts";

/** A compiled graph. Calls must not overlap. */
export interface Program {
  /**
   * Runs the graph once; outputs that `into` names are written to its tensors instead of fresh memory.
   *
   * Errors: EngineError with the engine's own words; the program stays usable.
   */
  run(inputs: Readonly<Record<string, Tensor>>, into?: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  /** Gives back all memory; idempotent. */
  dispose(): Promise<void>;
}

/** How a graph is compiled. */
export interface CompileOptions {
  /**
   * Whether the engine may keep the memory of one run for the next. It saves the cost of fresh pages, and is wasteful where many programs
   * are held at once, because each keeps its own.
   */
  keepScratchMemory: boolean;
}

/** An engine on a device. */
export interface Runtime {
  /** "onnxruntime-node/cpu", for reports. */
  readonly name: string;
  /** What a call of a model may take, and how models are to be held; without it, memory is plentiful. */
  readonly memory?: HoldOptions | undefined;
  /** Gives the memory of arrays that nobody refers to back at once, where that can be asked for. */
  collectGarbage?(): void;
  /** Has weights read from their files while something else is calculated, where that seems worth it; a hint. */
  prefetch?(weights: Iterable<StoredTensor>): void;
  /**
   * Ends when timers, signals and whatever else waits for the thread have had their turn. Without it a timer is waited for, which takes a
   * millisecond even where nobody waits.
   */
  nextTurn?: (() => Promise<void>) | undefined;
  /** Compiles a graph; weights are mapped from their files where they have one. */
  compile(graph: Graph, options: CompileOptions): Promise<Program>;
}

/** The same engine, told what a call may take. */
export function withMemory(runtime: Runtime, memory: HoldOptions): Runtime {
  return {
    name: runtime.name,
    memory,
    collectGarbage: () => runtime.collectGarbage?.(),
    prefetch: (weights) => runtime.prefetch?.(weights),
    nextTurn: runtime.nextTurn?.bind(runtime),
    compile: (graph, options) => runtime.compile(graph, options),
  };
}
