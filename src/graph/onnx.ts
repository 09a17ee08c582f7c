/**
 * Encodes a graph as an ONNX model. Weights become references into their files, so the encoded bytes stay small.
 */
import { create, toBinary } from "@bufbuild/protobuf";
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { Attribute, Graph, GraphNode, Value } from "./graph.ts";
import { ONNX_DTYPE } from "./operators.ts";
import { type AttributeProto, ModelProtoSchema, type NodeProto, type TensorProto, type ValueInfoProto } from "./proto/onnx_pb.ts";

/** Where the engine finds a weight's bytes: a file it maps, or the bytes themselves. */
export type WeightPlace = { readonly location: string; readonly offset: number } | { readonly bytes: Uint8Array };

const IR_VERSION = 10n;
const OPSET_VERSION = 21n;
const ATTRIBUTE_TYPE = { float: 1, int: 2, string: 3, ints: 7 } as const;
const EXTERNAL = 1;

/**
 * Encodes a graph.
 *
 * `placeWeight` says for each weight where its bytes are; locations are relative to the folder that the session is given.
 */
export function encodeOnnx(graph: Graph, placeWeight: (stored: StoredTensor) => WeightPlace): Uint8Array<ArrayBuffer> {
  const model = create(ModelProtoSchema, {
    irVersion: IR_VERSION,
    producerName: "halftone",
    opsetImport: [
      { domain: "", version: OPSET_VERSION },
      { domain: "com.microsoft", version: 1n },
    ],
    graph: {
      name: "halftone",
      node: graph.nodes.map(encodeNode),
      initializer: [
        ...graph.constants.map(({ value, data }) => ({ ...tensorHead(value), rawData: new Uint8Array(data.buffer as ArrayBuffer) })),
        ...Array.from(graph.weights.values(), (stored) => encodeWeight(stored, placeWeight(stored))),
      ],
      input: graph.inputs.map(encodeValueInfo),
      output: Array.from(graph.outputs.values(), encodeValueInfo),
      valueInfo: Array.from(graph.declared.values(), encodeValueInfo),
    },
  });
  return toBinary(ModelProtoSchema, model);
}

type Init<T> = { [K in Exclude<keyof T, "$typeName" | "$unknown">]?: unknown };

function tensorHead(value: Value) {
  return { name: value.name, dataType: ONNX_DTYPE[value.dtype], dims: value.shape.map(BigInt) };
}

function encodeWeight(stored: StoredTensor, place: WeightPlace) {
  const head = tensorHead(stored);
  if ("bytes" in place) return { ...head, rawData: place.bytes as Uint8Array<ArrayBuffer> } satisfies Init<TensorProto>;
  const entries = { location: place.location, offset: place.offset, length: stored.sizeBytes };
  return {
    ...head,
    dataLocation: EXTERNAL,
    externalData: Object.entries(entries).map(([key, value]) => ({ key, value: String(value) })),
  } satisfies Init<TensorProto>;
}

function encodeNode(node: GraphNode) {
  return {
    opType: node.operator,
    domain: node.domain,
    name: node.outputs[0]?.name ?? "",
    input: [...node.inputs],
    output: node.outputs.map((output) => output.name),
    attribute: Object.entries(node.attributes).map(([name, attribute]) => encodeAttribute(name, attribute)),
  } satisfies Init<NodeProto>;
}

function encodeAttribute(name: string, attribute: Attribute) {
  if (typeof attribute === "number") return { name, type: ATTRIBUTE_TYPE.int, i: BigInt(attribute) } satisfies Init<AttributeProto>;
  if (typeof attribute === "string") return { name, type: ATTRIBUTE_TYPE.string, s: new TextEncoder().encode(attribute) };
  if ("float" in attribute) return { name, type: ATTRIBUTE_TYPE.float, f: attribute.float };
  return { name, type: ATTRIBUTE_TYPE.ints, ints: attribute.map(BigInt) };
}

function encodeValueInfo(value: Value) {
  const dim = value.shape.map((size) => ({ value: { case: "dimValue" as const, value: BigInt(size) } }));
  return {
    name: value.name,
    type: { value: { case: "tensorType" as const, value: { elemType: ONNX_DTYPE[value.dtype], shape: { dim } } } },
  } satisfies Init<ValueInfoProto>;
}
