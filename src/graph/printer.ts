/**
 * A graph as stable text, one line a node, for people and for the snapshots that show what a change of a model changed.
 */
import type { Attribute, Constant, Graph, Value } from "./graph.ts";

/** Prints a graph: inputs, weights, nodes in order, outputs. */
export function printGraph(graph: Graph): string {
  const lines = [
    ...graph.inputs.map((value) => `input  ${typed(value)}`),
    ...Array.from(graph.weights.values(), (stored) => `weight ${stored.name}: ${stored.dtype}[${stored.shape.join(", ")}]`),
    ...graph.constants.map(({ value, data }) => `const  ${typed(value)} = ${preview(data)}`),
    ...graph.nodes.map((node) => {
      const attributes = Object.entries(node.attributes).map(([name, value]) => `${name}=${printAttribute(value)}`);
      const inputs = node.inputs.map((name) => name || "_");
      return `${node.outputs.map(typed).join(", ")} = ${node.operator}(${[...inputs, ...attributes].join(", ")})`;
    }),
    ...Array.from(graph.outputs, ([name, value]) => `output ${name} = ${value.name}`),
  ];
  return `${lines.join("\n")}\n`;
}

function typed(value: Value): string {
  return `${value.name}: ${value.dtype}[${value.shape.join(", ")}]`;
}

function preview(data: Constant["data"]): string {
  const shown = Array.from(data.subarray(0, 8) as Iterable<number | bigint>, String).join(", ");
  return data.length > 8 ? `${shown}, … (${data.length})` : shown;
}

function printAttribute(attribute: Attribute): string {
  if (typeof attribute === "object" && "float" in attribute) return String(attribute.float);
  return Array.isArray(attribute) ? `[${attribute.join(", ")}]` : String(attribute);
}
