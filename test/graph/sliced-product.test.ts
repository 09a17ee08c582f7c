/** Products of few rows with large weights, slice by slice, against the same products with the whole weight at once. */
import { describe, expect, it } from "vitest";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import type { StoredTensor } from "../../src/checkpoint/stored-tensor.ts";
import { Weights } from "../../src/checkpoint/weights.ts";
import { Graph } from "../../src/graph/graph.ts";
import { matMulTransposed } from "../../src/graph/operators.ts";
import { layerWeight } from "../../src/nn/layer-weight.ts";
import { linear } from "../../src/nn/linear.ts";
import { findQType, QTYPES } from "../../src/quant/qtype.ts";
import { quantizeWeight } from "../../src/quant/quantize-weight.ts";
import { onnxRuntimeNode } from "../../src/runtime/onnxruntime-node.ts";
import { fromFloat32 } from "../../src/tensor/convert.ts";
import type { DType } from "../../src/tensor/dtype.ts";
import { elementCount, floatTensor } from "../../src/tensor/tensor.ts";
import { expectClose } from "../support/compare.ts";

const IN = 1152;
/** Not a multiple of the slices' rows, so that the last slice is short; 4 divides it, as 2-bit codes need. */
const OUT = 2060;
const runtime = onnxRuntimeNode();

const values = Float32Array.from({ length: OUT * IN }, (_, i) => Math.sin(i * 0.7) * (1 + (i % 97) / 50) * 0.02);
// Outputs 3 and 2000 have rows of zeros: float8 stores NaN for them, with a scale of 0.
for (const row of [3, 2000]) values.fill(0, row * IN, (row + 1) * IN);

/** A scope whose weight is stored as a dtype or quantized. */
function stored(as: string, out = OUT): Weights {
  const tensors = new Map<string, StoredTensor>();
  const put = (name: string, dtype: DType, shape: readonly number[], bytes: Uint8Array) => {
    tensors.set(name, { name, dtype, shape, source: memorySource(name, bytes), offset: 0, sizeBytes: bytes.length });
  };
  const own = values.subarray(0, out * IN);
  if (as.startsWith("q")) {
    const { data, scale, shift } = quantizeWeight(own, { name: "weight", shape: [out, IN], dtype: "float32", qtype: findQType(as) });
    for (const part of [data, scale, ...(shift ? [shift] : [])]) put(`layer.weight.${part.key}`, part.dtype, part.shape, part.bytes);
  } else put("layer.weight", as as DType, [out, IN], fromFloat32(own, as as "float16"));
  const quantized = as.startsWith("q");
  return Weights.of({
    component: "test",
    name: "test",
    tensors,
    qtypes: quantized ? new Map([["layer", as]]) : undefined,
    zeroScales: quantized ? new Set(["layer"]) : undefined,
  }).at("layer");
}

async function product(weights: Weights, rows: number, whole: boolean, out = OUT): Promise<{ graph: Graph; values: Float32Array }> {
  const graph = new Graph("float32");
  const x = graph.input("x", [1, rows, IN]);
  const weight = () => layerWeight(graph, weights, { kind: "linear", shape: [out, IN], after: x });
  graph.output("y", whole ? matMulTransposed(graph, x, weight()) : linear(graph, weights, x, { out, bias: false }));
  const program = await runtime.compile(graph, { keepScratchMemory: false });
  const input = floatTensor(
    [1, rows, IN],
    Float32Array.from({ length: rows * IN }, (_, i) => Math.cos(i * 0.3)),
  );
  const { y } = await program.run({ x: input });
  await program.dispose();
  return { graph, values: y?.data as Float32Array };
}

/** The largest value of a graph, in numbers. */
function largest(graph: Graph): number {
  return Math.max(...graph.nodes.flatMap(({ outputs }) => outputs.map(({ shape }) => elementCount(shape))));
}

describe.each(["float16", "bfloat16", ...QTYPES.map(({ name }) => name)])("a weight stored as %s", (as) => {
  it.each([
    [1, 2 ** 21],
    [200, 2 ** 20],
  ])("gives the same product of %i rows, of which at most %i values are unpacked at a time", async (rows, slice) => {
    const sliced = await product(stored(as), rows, false);
    const whole = await product(stored(as), rows, true);
    expectClose(sliced.values, whole.values, 1e-6, `${as}, ${rows} rows`);
    expect(largest(sliced.graph)).toBeLessThanOrEqual(slice);
    expect(largest(whole.graph)).toBe(OUT * IN);
    // The engine knows their shapes: with unknown ones, compiling takes time that grows with the square of their number.
    expect(sliced.graph.declared.size).toBeGreaterThan(1);
    expect(sliced.graph.modules).toEqual([{ name: "layer", kind: "linear", shape: [OUT, IN], keepPrecision: false }]);
  });
});

it("takes the whole weight for many rows, for rows that share no bytes evenly, and for what needs no unpacking", async () => {
  const graphOf = async (as: string, rows: number, out = OUT) => (await product(stored(as, out), rows, false, out)).graph;
  expect(largest(await graphOf("qint8", 641))).toBe(OUT * IN);
  expect(largest(await graphOf("qint4", 1, OUT - 1))).toBeGreaterThanOrEqual((OUT - 1) * IN);
  expect((await graphOf("float32", 1)).nodes.map(({ operator }) => operator)).toEqual(["Shape", "Concat", "Reshape", "FusedMatMul"]);
});
