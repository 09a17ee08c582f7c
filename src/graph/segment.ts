/**
 * A model as a list of segments: embedding, block 0…n, head. Each takes named values and returns named values.
 *
 * How many segments share an engine session is decided when the model is compiled, not here: `buildGraph` strings any run of neighbours
 * into one graph, so a model that is held whole and one that is streamed block by block come from the same code.
 */
import type { ComputeDType, DType } from "../tensor/dtype.ts";
import { Graph, type Value } from "./graph.ts";

/** Named values that flow from segment to segment; a segment's result replaces those of the same name. */
export type State = Readonly<Record<string, Value>>;

/** One piece of a model. */
export interface Segment {
  /** The checkpoint's own path of the piece ("transformer_blocks.3"), for progress and messages. */
  readonly name: string;
  build(g: Graph, state: State): State;
}

/** What a model's input looks like. */
export interface InputSpec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** A model for one size and batch, not yet built. */
export interface ModelGraph {
  /** What weights are rounded to when they are read. */
  readonly dtype: ComputeDType;
  readonly inputs: Readonly<Record<string, InputSpec>>;
  readonly segments: readonly Segment[];
  /** Names of the state that the last segment leaves as results. */
  readonly outputs: readonly string[];
}

/** A run of segments built into one graph. */
export interface BuiltSegments {
  readonly names: readonly string[];
  readonly graph: Graph;
}

/**
 * Builds a model as graphs of `perGraph` segments each.
 *
 * A graph's inputs are the values that it reads and did not make; its outputs the values that a later graph or the caller reads.
 */
export function buildGraphs(model: ModelGraph, perGraph: number): BuiltSegments[] {
  const groups = chunk(model.segments, perGraph);
  const built: { names: string[]; graph: Graph; reads: Set<string>; writes: State }[] = [];
  let known: Record<string, InputSpec> = { ...model.inputs };
  for (const group of groups) {
    const graph = new Graph(model.dtype);
    const { state, reads } = trackedState(graph, known);
    const writes: Record<string, Value> = {};
    for (const segment of group) {
      const result = segment.build(graph, state);
      Object.assign(writes, result);
      Object.assign(state, result);
    }
    built.push({ names: group.map((segment) => segment.name), graph, reads, writes });
    known = { ...known, ...writes };
  }
  let needed = new Set(model.outputs);
  for (const { graph, reads, writes } of built.toReversed()) {
    for (const [name, value] of Object.entries(writes)) if (needed.has(name)) graph.output(name, value);
    needed = new Set([...Array.from(needed).filter((name) => !(name in writes)), ...reads]);
  }
  return built;
}

/** A state whose values become inputs of the graph when they are first read. */
function trackedState(graph: Graph, known: Readonly<Record<string, InputSpec>>): { state: Record<string, Value>; reads: Set<string> } {
  const reads = new Set<string>();
  const made: Record<string, Value> = {};
  const state = new Proxy(made, {
    get(target, name: string) {
      const spec = known[name];
      if (target[name] === undefined && spec !== undefined) {
        reads.add(name);
        target[name] = graph.input(name, spec.shape, spec.dtype);
      }
      return target[name];
    },
  });
  return { state, reads };
}

function chunk<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}
