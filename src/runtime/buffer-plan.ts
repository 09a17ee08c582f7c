/**
 * Which buffer each value of a graph lives in, as onnxruntime's planner decides it.
 *
 * A reshaped value lies where the original does. Any other takes the buffer of a dead value of the same shape, if the engine knows both
 * shapes; that buffer is held between the two as if it had never died, which costs memory where they lie far apart. None of the operators
 * that models are written in works in place.
 * Source: microsoft/onnxruntime@1.30 core/framework/allocation_planner.cc (ComputeReusePlan).
 */
import type { Graph, GraphNode, Value } from "../graph/graph.ts";
import { elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { knownShapes } from "./known-shapes.ts";

/** How a graph will be run. */
export interface RunOptions {
  /** The caller has tensors that results are written to: they take no memory of the engine's. Default false. */
  readonly hasPlacesForResults?: boolean;
}

/** What is allocated and freed when a node runs. */
export interface BufferStep {
  readonly node: GraphNode;
  /** Buffers that begin with this node, by id. */
  readonly allocated: readonly { readonly id: number; readonly sizeBytes: number }[];
  /** Buffers that end after it. */
  readonly freed: readonly number[];
}

interface Buffer {
  readonly id: number;
  readonly sizeBytes: number;
  readonly key: string;
  readonly step: number;
  /** The last step that reads a value in it. */
  lastStep: number;
  uses: number;
  isDead: boolean;
  /** Outputs outlive the run, inputs and weights are not the engine's. */
  readonly isOwn: boolean;
  /** Only where the engine's planner knows the shape can a buffer be shared. */
  readonly isKnown: boolean;
}

/** Plans the buffers of nodes in their order of execution. */
export function planBuffers(graph: Graph, order: readonly GraphNode[], { hasPlacesForResults = false }: RunOptions = {}): BufferStep[] {
  const readers = countReaders(graph, order);
  const outputs = new Set(Array.from(graph.outputs.values(), ({ name }) => name));
  const values = new Map<string, Buffer>();
  const buffers: Buffer[] = [];
  /** Buffers of dead values by shape, the latest last. */
  const dead = new Map<string, Buffer[]>();
  const known = knownShapes(graph, order);
  const begin = (value: Value, step: number, isOwn: boolean): Buffer => {
    const sizeBytes = elementCount(value.shape) * elementSizeBytes(value.dtype);
    const buffer = {
      id: buffers.length,
      sizeBytes,
      key: keyOf(value),
      step,
      lastStep: step,
      uses: readers.get(value.name) ?? 0,
      isDead: false,
      isOwn,
      isKnown: known.has(value.name),
    };
    buffers.push(buffer);
    return buffer;
  };
  for (const value of graph.inputs) values.set(value.name, begin(value, -1, false));
  for (const { value } of graph.constants) values.set(value.name, begin(value, -1, false));
  for (const stored of graph.weights.values()) values.set(stored.name, begin(stored, -1, false));

  for (const [step, node] of order.entries()) {
    for (const value of node.outputs) {
      const shared = outputs.has(value.name) ? undefined : sharedBuffer(node, value);
      if (shared === undefined) {
        values.set(value.name, begin(value, step, !(hasPlacesForResults && outputs.has(value.name))));
        continue;
      }
      shared.uses += readers.get(value.name) ?? 0;
      values.set(value.name, shared);
    }
    for (const name of [...node.inputs, ...node.outputs.filter((value) => !readers.has(value.name)).map((value) => value.name)]) {
      const buffer = values.get(name);
      if (buffer === undefined) continue;
      buffer.lastStep = step;
      if (node.inputs.includes(name)) buffer.uses--;
      if (buffer.uses > 0 || !buffer.isOwn || !buffer.isKnown || buffer.isDead) continue;
      buffer.isDead = true;
      const alike = dead.get(buffer.key);
      if (alike === undefined) dead.set(buffer.key, [buffer]);
      else alike.push(buffer);
    }
  }
  const held = new Set(Array.from(outputs, (name) => values.get(name)));
  const steps = order.map((node) => ({ node, allocated: [] as Buffer[], freed: [] as number[] }));
  for (const buffer of buffers.filter(({ isOwn, sizeBytes }) => isOwn && sizeBytes > 0)) {
    steps[buffer.step]?.allocated.push(buffer);
    if (!held.has(buffer)) steps[buffer.lastStep]?.freed.push(buffer.id);
  }
  return steps;

  function sharedBuffer(node: GraphNode, value: Value): Buffer | undefined {
    if (node.operator === "Reshape") return values.get(node.inputs[0] ?? "");
    if (!known.has(value.name)) return undefined;
    const buffer = dead.get(keyOf(value))?.pop();
    if (buffer !== undefined) buffer.isDead = false;
    return buffer;
  }
}

/** How often each value is read; an output once more, by the caller. */
function countReaders(graph: Graph, order: readonly GraphNode[]): Map<string, number> {
  const readers = new Map<string, number>();
  const read = (name: string) => readers.set(name, (readers.get(name) ?? 0) + 1);
  for (const node of order) for (const name of node.inputs) if (name !== "") read(name);
  for (const { name } of graph.outputs.values()) read(name);
  return readers;
}

/** Buffers are shared by values of one element size and shape alone. */
function keyOf({ dtype, shape }: Value): string {
  return `${elementSizeBytes(dtype)}[${shape}]`;
}
