/** How much a graph calculates, from its nodes and shapes alone. */
import type { Graph, GraphNode } from "../graph/graph.ts";
import { elementCount } from "../tensor/tensor.ts";
import { shapesOf } from "./graph-memory.ts";

type Shapes = ReadonlyMap<string, readonly number[]>;

/** Additions and multiplications of products, attention and convolutions; all else is small beside them. */
export function graphFlops(graph: Graph): number {
  const shapes = shapesOf(graph);
  return graph.nodes.reduce((sum, node) => sum + nodeFlops(node, shapes), 0);
}

function nodeFlops(node: GraphNode, shapes: Shapes): number {
  const [first = [], second = []] = node.inputs.map((name) => shapes.get(name) ?? []);
  const results = elementCount(node.outputs[0]?.shape ?? []);
  switch (node.operator) {
    case "FusedMatMul":
    case "MatMulIntegerToFloat":
      return 2 * results * (first.at(-1) ?? 0);
    case "MultiHeadAttention":
      // Scores, and the mix of values by them.
      return 4 * results * (second[1] ?? 0);
    case "Conv":
      return 2 * results * elementCount(second.slice(1));
    default:
      return 0;
  }
}
