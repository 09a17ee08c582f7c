/**
 * How much anonymous memory a graph will take to run, from its nodes and shapes alone: no weight is read and no engine is started.
 *
 * Weights that are mapped from files cost nothing here: their pages belong to the files.
 */
import type { Graph, GraphNode, Value } from "../graph/graph.ts";
import { elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { Arena, type Chunk } from "./arena.ts";
import { planBuffers, type RunOptions } from "./buffer-plan.ts";
import { executionOrder } from "./execution-order.ts";
import { kernelScratch } from "./kernel-scratch.ts";

/** What a run of a graph takes. */
export interface GraphMemory {
  /** Bytes that the engine's arena has touched when the graph has run once: what it keeps until the program is disposed of. */
  readonly arenaBytes: number;
  /** The results, which are copied for the caller. */
  readonly outputBytes: number;
}

/** Plays a run through. */
export function predictGraphMemory(graph: Graph, options: RunOptions = {}): GraphMemory {
  let last: ArenaStep | undefined;
  for (const step of playArena(graph, options)) last = step;
  const outputBytes = Array.from(graph.outputs.values()).reduce((sum, value) => sum + valueBytes(value), 0);
  return { arenaBytes: last?.arena.touchedBytes ?? 0, outputBytes };
}

/** The state of the arena when a node has run and nothing has been freed yet. */
export interface ArenaStep {
  readonly node: GraphNode;
  readonly arena: Arena;
  /** Bytes of the chunks that hold values. */
  readonly chunkBytes: number;
}

/** Every node of a run, in order. */
export function* playArena(graph: Graph, options: RunOptions = {}): Generator<ArenaStep> {
  const shapes = shapesOf(graph);
  const arena = new Arena();
  const held = new Map<number, Chunk>();
  let chunkBytes = 0;
  for (const { node, allocated, freed } of planBuffers(graph, executionOrder(graph), options)) {
    for (const { id, sizeBytes } of allocated) {
      const chunk = arena.allocate(sizeBytes);
      held.set(id, chunk);
      chunkBytes += chunk.sizeBytes;
    }
    const scratch = kernelScratch(node, (name) => shapes.get(name)).map((sizeBytes) => arena.allocate(sizeBytes));
    for (const chunk of scratch.reverse()) arena.release(chunk);
    yield { node, arena, chunkBytes };
    for (const id of freed) {
      const chunk = held.get(id);
      if (chunk === undefined) continue;
      held.delete(id);
      chunkBytes -= chunk.sizeBytes;
      arena.release(chunk);
    }
  }
}

/** Shapes of all values of a graph by their names. */
export function shapesOf(graph: Graph): ReadonlyMap<string, Value["shape"]> {
  const all: Pick<Value, "name" | "shape">[] = [...graph.inputs, ...graph.constants.map(({ value }) => value), ...graph.weights.values()];
  for (const { outputs } of graph.nodes) all.push(...outputs);
  return new Map(all.map(({ name, shape }) => [name, shape]));
}

/** Bytes of a value. */
export function valueBytes({ shape, dtype }: Pick<Value, "shape" | "dtype">): number {
  return elementCount(shape) * elementSizeBytes(dtype);
}
