/**
 * How much of each value's shape onnxruntime knows before it runs a graph: only where it knows all of it can values share buffers.
 *
 * The shape that waitFor makes up is not known unless it is declared, and a product with such a weight has an unknown width, until a bias of
 * known width is added.
 * Source: microsoft/onnx@1.20 shape inference, as onnxruntime@1.30 calls it with optimization off.
 */
import type { Graph, GraphNode } from "../graph/graph.ts";

/** A shape with unknown axes. */
type Dims = readonly (number | undefined)[];

/** Names of the values whose whole shape is known. */
export function knownShapes(graph: Graph, order: readonly GraphNode[]): Set<string> {
  const constants = new Set(graph.constants.map(({ value }) => value.name));
  const sources = [...graph.inputs, ...graph.constants.map(({ value }) => value), ...graph.weights.values()];
  const dims = new Map<string, Dims>(sources.map(({ name, shape }) => [name, shape]));
  for (const node of order) {
    const inputs = node.inputs.map((name) => dims.get(name));
    for (const { name, shape } of node.outputs) {
      dims.set(name, graph.declared.has(name) ? shape : outputDims(node, inputs, shape, constants));
    }
  }
  const isKnown = (shape: Dims) => shape.every((dim) => dim !== undefined);
  return new Set(Array.from(dims).flatMap(([name, shape]) => (isKnown(shape) ? [name] : [])));
}

function outputDims(
  node: GraphNode,
  inputs: readonly (Dims | undefined)[],
  shape: readonly number[],
  constants: ReadonlySet<string>,
): Dims {
  const [first = [], second = [], third = []] = inputs;
  const given = inputs.filter((dims) => dims !== undefined);
  const isAllKnown = (dims: Dims) => dims.every((dim) => dim !== undefined);
  const unknown = shape.map(() => undefined);
  switch (node.operator) {
    case "Reshape":
      return constants.has(node.inputs[1] ?? "") ? shape : unknown;
    case "Shape":
      return shape;
    case "MatMulIntegerToFloat":
      return [...first.slice(0, -1), second[1]];
    case "ReduceMax":
    case "ReduceMin":
      return [...first.slice(0, -1), 1];
    case "FusedMatMul":
      return [...first.slice(0, -1), second[0]];
    case "MultiHeadAttention":
      return [first[0], first[1], third[2]];
    case "Gather":
      return [...second, ...first.slice(1)];
    case "GatherElements":
      return second;
    case "Transpose":
      return (node.attributes.perm as readonly number[]).map((axis) => first[axis]);
    case "Conv":
      return isAllKnown(first) && isAllKnown(second) ? shape : [first[0], second[0], ...shape.slice(2).map(() => undefined)];
    case "Concat":
      return shape.map((dim, axis) => {
        const isJoined = axis === node.attributes.axis;
        const known = given.map((dims) => dims[axis] !== undefined);
        return (isJoined ? known.every(Boolean) : known.some(Boolean)) ? dim : undefined;
      });
    case "Split":
    case "Slice":
    case "Resize":
      return shape.map((dim, axis) => (first[axis] === undefined ? undefined : dim));
    case "Add":
    case "Sub":
    case "Mul":
    case "Div":
    case "Max":
    case "BitwiseXor":
    case "Where":
    case "BitShift":
    case "BitwiseAnd":
      return shape.map((dim, axis) => broadcastDim(given, dim, axis - shape.length));
    default:
      return first;
  }
}

/** Known where all are, or where one is that no other can stretch. */
function broadcastDim(inputs: readonly Dims[], dim: number, fromEnd: number): number | undefined {
  const dims = inputs.filter(({ length }) => length >= -fromEnd).map((each) => each.at(fromEnd));
  return dims.every((each) => each !== undefined) || dims.some((each) => each !== undefined && each !== 1) ? dim : undefined;
}
