/**
 * The order in which onnxruntime executes a graph's nodes: what memory is held when depends on it.
 *
 * Source: microsoft/onnxruntime@1.30 core/graph/graph_viewer.cc: a depth-first walk from the nodes that nothing reads, back along inputs; of
 * several inputs the one whose node was added last is walked first. That is why a node that only reads constants comes before all others.
 */
import type { Graph, GraphNode } from "../graph/graph.ts";

/** The nodes of a graph in the order of their execution. */
export function executionOrder(graph: Graph): GraphNode[] {
  const { nodes } = graph;
  const producers = new Map(nodes.flatMap(({ outputs }, index) => outputs.map(({ name }) => [name, index] as const)));
  const inputs = nodes.map((node) => producersOf(node, producers));
  const read = new Set(inputs.flat());
  const stack = Array.from(nodes.keys())
    .filter((index) => !read.has(index))
    .map((index) => ({ index, isLeaving: false }));
  const visited = new Set<number>();
  const order: GraphNode[] = [];
  for (let entry = stack.pop(); entry !== undefined; entry = stack.pop()) {
    const { index, isLeaving } = entry;
    if (isLeaving) order.push(nodes[index] as GraphNode);
    if (isLeaving || visited.has(index)) continue;
    visited.add(index);
    stack.push({ index, isLeaving: true });
    for (const input of inputs[index] ?? []) if (!visited.has(input)) stack.push({ index: input, isLeaving: false });
  }
  return order;
}

/** Indices of the nodes that a node reads from, ascending. */
function producersOf(node: GraphNode, producers: ReadonlyMap<string, number>): number[] {
  const found = new Set(node.inputs.flatMap((name) => producers.get(name) ?? []));
  return [...found].sort((a, b) => a - b);
}
