/**
 * A model as a list of segments: embedding, block 0…n, head. Each takes named values and returns named values.
 *
 * How many segments share an engine session is decided when the model is compiled, not here: `modelPieces` strings any run of neighbours
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

/** A run of segments that becomes a graph when it is wanted: the graphs of a large model take more memory than one should hold. */
export interface ModelPiece {
  readonly names: readonly string[];
  /** Names of the state that it reads. */
  readonly inputs: readonly string[];
  /** The state that it makes for a later piece or the caller. */
  readonly outputs: ReadonlyMap<string, InputSpec>;
  build(): Graph;
}

/**
 * Builds a model as graphs of `perGraph` segments each.
 *
 * A graph's inputs are the values that it reads and did not make; its outputs the values that a later graph or the caller reads.
 */
export function buildGraphs(model: ModelGraph, perGraph: number): BuiltSegments[] {
  return modelPieces(model, perGraph).map((piece) => ({ names: piece.names, graph: piece.build() }));
}

/** The same graphs, each of them built anew whenever it is asked for. */
export function modelPieces(model: ModelGraph, perGraph: number): ModelPiece[] {
  const groups = chunk(model.segments, perGraph);
  const found: { segments: readonly Segment[]; known: Readonly<Record<string, InputSpec>>; reads: Set<string>; writes: State }[] = [];
  let known: Record<string, InputSpec> = { ...model.inputs };
  for (const segments of groups) {
    const { reads, writes } = buildSegments(model, segments, known);
    found.push({ segments, known, reads, writes });
    known = { ...known, ...specsOf(writes) };
  }
  let needed = new Set(model.outputs);
  const pieces = found.toReversed().map((piece): ModelPiece => {
    const names = Object.keys(piece.writes).filter((name) => needed.has(name));
    needed = new Set([...Array.from(needed).filter((name) => !(name in piece.writes)), ...piece.reads]);
    return {
      names: piece.segments.map(({ name }) => name),
      inputs: [...piece.reads],
      outputs: new Map(names.map((name) => [name, specOf(piece.writes[name] as Value)])),
      build: () => {
        const { graph, writes } = buildSegments(model, piece.segments, piece.known);
        for (const name of names) graph.output(name, writes[name] as Value);
        return graph;
      },
    };
  });
  return pieces.reverse();
}

function buildSegments(model: ModelGraph, segments: readonly Segment[], known: Readonly<Record<string, InputSpec>>) {
  const graph = new Graph(model.dtype);
  const { state, reads } = trackedState(graph, known);
  const writes: Record<string, Value> = {};
  for (const segment of segments) {
    const result = segment.build(graph, state);
    Object.assign(writes, result);
    Object.assign(state, result);
  }
  return { graph, reads, writes };
}

/** Without the value's name, and without the graph that it belongs to. */
function specOf({ shape, dtype }: Value): InputSpec {
  return { shape, dtype };
}

function specsOf(values: State): Record<string, InputSpec> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, specOf(value)]));
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
