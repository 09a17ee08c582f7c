/** Products of a fast run against the same arithmetic in plain numbers, and where they take the place of faithful ones. */
import { describe, expect, it } from "vitest";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import type { StoredTensor } from "../../src/checkpoint/stored-tensor.ts";
import { type IntegerProducts, Weights } from "../../src/checkpoint/weights.ts";
import { Graph, type Value } from "../../src/graph/graph.ts";
import { attention } from "../../src/nn/attention.ts";
import { twoLinear } from "../../src/nn/feed-forward.ts";
import { fusedLinear, type LinearOptions, linear } from "../../src/nn/linear.ts";
import { findQType } from "../../src/quant/qtype.ts";
import { quantizeWeight } from "../../src/quant/quantize-weight.ts";
import { exactIntegerProducts } from "../../src/runtime/integer-products.ts";
import { onnxRuntimeNode } from "../../src/runtime/onnxruntime-node.ts";
import { elementCount, floatTensor } from "../../src/tensor/tensor.ts";
import { expectClose } from "../support/compare.ts";

const runtime = onnxRuntimeNode();
/** On a processor where signed codes overflow, only the others can be right. */
const EXACT = await exactIntegerProducts(runtime);
const KINDS: IntegerProducts[] = EXACT === "signed" ? ["signed", "unsigned"] : [EXACT];

interface Layer {
  readonly out: number;
  readonly inFeatures: number;
  readonly codes: Int8Array;
  readonly scale: Float32Array;
  readonly bias: Float32Array;
}

function layerOf(out: number, inFeatures: number, code: (row: number, column: number) => number): Layer {
  return {
    out,
    inFeatures,
    codes: Int8Array.from({ length: out * inFeatures }, (_, i) => code(Math.floor(i / inFeatures), i % inFeatures)),
    scale: Float32Array.from({ length: out }, (_, row) => 0.001 * (1 + (row % 5))),
    bias: Float32Array.from({ length: out }, (_, row) => Math.sin(row)),
  };
}

/** A scope that holds layers under these names, stored as Quanto stores qint8. */
function scopeOf(layers: Readonly<Record<string, Layer>>, integerProducts: IntegerProducts | undefined): Weights {
  const tensors = new Map<string, StoredTensor>();
  const put = (name: string, dtype: "int8" | "float32", shape: number[], data: Int8Array | Float32Array) => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    tensors.set(name, { name, dtype, shape, source: memorySource(name, bytes), offset: 0, sizeBytes: bytes.length });
  };
  for (const [name, { out, inFeatures, codes, scale, bias }] of Object.entries(layers)) {
    put(`${name}.weight._data`, "int8", [out, inFeatures], codes);
    put(`${name}.weight._scale`, "float32", [out, 1], scale);
    put(`${name}.bias`, "float32", [out], bias);
  }
  const qtypes = new Map(Object.keys(layers).map((name) => [name, "qint8"]));
  return Weights.of({ component: "test", name: "test", tensors, qtypes, integerProducts });
}

async function run(rows: number[], inFeatures: number, input: Float32Array, build: (g: Graph, x: Value) => Value) {
  const graph = new Graph("float32");
  const shape = [...rows, inFeatures];
  graph.output("y", build(graph, graph.input("x", shape)));
  const program = await runtime.compile(graph, { keepScratchMemory: false });
  const { y } = await program.run({ x: floatTensor(shape, input) });
  await program.dispose();
  return { graph, values: y?.data as Float32Array };
}

const operatorsOf = (graph: Graph) => graph.nodes.map(({ operator }) => operator);

/** Half to even, as the engine rounds. */
function round(value: number): number {
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 !== 0 ? near - 1 : near;
}

/** Rows of x in steps of their own, rounded, multiplied by codes as integers. */
function expected(x: Float32Array, { out, inFeatures, codes, scale, bias }: Layer, stepsBelow = 128): Float32Array {
  const rows = x.length / inFeatures;
  const steps = Float32Array.from({ length: rows }, (_, row) =>
    x.subarray(row * inFeatures, (row + 1) * inFeatures).reduce((most, value) => {
      const steps = value < 0 ? -stepsBelow : 255 - stepsBelow;
      return Math.max(most, Math.fround(value * Math.fround(1 / steps)));
    }, 1e-30),
  );
  const bytes = Array.from(x, (value, i) => round(Math.fround(value / (steps[Math.floor(i / inFeatures)] as number))));
  return Float32Array.from({ length: rows * out }, (_, i) => {
    const [row, column] = [Math.floor(i / out), i % out];
    let sum = 0;
    for (let k = 0; k < inFeatures; k++) sum += (bytes[row * inFeatures + k] as number) * (codes[column * inFeatures + k] as number);
    return sum * (scale[column] as number) * (steps[row] as number) + (bias[column] as number);
  });
}

const wave = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i * 0.37) * (1 + (i % 11)) * 10 ** ((i >> 8) % 4));

describe.each(KINDS)("codes %s", (kind) => {
  it.each([
    [64, 256, 64],
    [65, 130, 70],
    [77, 1152, 200],
  ])("multiply as integers: %i rows, %i inputs, %i outputs", async (rows, inFeatures, out) => {
    const layer = layerOf(out, inFeatures, (row, column) => ((row * 31 + column * 17) % 256) - 128);
    const x = wave(rows * inFeatures);
    // A row of zeros is divided by its magnitude like the others.
    x.fill(0, 3 * inFeatures, 4 * inFeatures);
    const { values, graph } = await run([rows], inFeatures, x, (g, input) =>
      linear(g, scopeOf({ layer }, kind).at("layer"), input, { out }),
    );
    expectClose(values, expected(x, layer), 1e-6, "integer product");
    expect(values.subarray(3 * out, 4 * out)).toEqual(layer.bias);
    expect(operatorsOf(graph).filter((operator) => operator.includes("MatMul"))).toEqual(["MatMulIntegerToFloat"]);
    expect(graph.modules).toEqual([{ name: "layer", kind: "linear", shape: [out, inFeatures], keepPrecision: false }]);
  });
});

it("sums of the largest numbers are exact, whatever the processor, in the way that its engine is found to be exact in", async () => {
  const [rows, inFeatures] = [64, 4096];
  const layer = { ...layerOf(64, inFeatures, (row) => (row % 2 === 0 ? 127 : -128)), bias: new Float32Array(64) };
  // With 127 steps up every input becomes the byte 255, and every sum of bytes 4096 * 255 * 127 or -4096 * 255 * 128.
  const x = new Float32Array(rows * inFeatures).fill(1);
  const { values } = await run([rows], inFeatures, x, (g, input) => linear(g, scopeOf({ layer }, EXACT).at("layer"), input, { out: 64 }));
  expectClose(values, expected(x, layer), 1e-6, "sums of the largest numbers");
  expect((values[0] as number) / (layer.scale[0] as number)).toBeCloseTo(inFeatures * 127, 0);
});

it("gives the same bits with and without signs", async () => {
  const layer = layerOf(96, 640, (row, column) => ((row * 7 + column * 13) % 255) - 127);
  // With half of the codes' range no processor overflows.
  const gentle = { ...layer, codes: layer.codes.map((code) => code >> 1) };
  const x = wave(128 * 640);
  const made = await Promise.all(
    (["signed", "unsigned"] as const).map((kind) =>
      run([2, 64], 640, x, (g, input) => linear(g, scopeOf({ layer: gentle }, kind).at("layer"), input, { out: 96 })),
    ),
  );
  expect(made[0]?.values).toEqual(made[1]?.values);
});

it("rounds inputs that reach further up than down in smaller steps", async () => {
  const layer = layerOf(64, 256, (row, column) => ((row * 31 + column * 17) % 256) - 128);
  // The last rows hold little above 0, so that what is below decides their steps.
  const x = wave(64 * 256).map((value, i) => (value < 0 ? -0.17 * Math.abs(Math.sin(i)) : value / (i < 40 * 256 ? 100 : 1e5)));
  const make = async (oneSided: boolean) =>
    (await run([64], 256, x, (g, input) => linear(g, scopeOf({ layer }, EXACT).at("layer"), input, { out: 64, oneSided }))).values;
  expectClose(await make(true), expected(x, layer, 32), 1e-6, "one-sided inputs");
  expectClose(await make(false), expected(x, layer), 1e-6, "the same in steps for both sides");
});

it("gives a row the same bits whatever the other rows are", async () => {
  const layer = layerOf(96, 640, (row, column) => ((row * 7 + column * 13) % 255) - 127);
  const x = wave(64 * 640);
  const product = async (rows: number, input: Float32Array) =>
    (await run([rows], 640, input, (g, value) => linear(g, scopeOf({ layer }, EXACT).at("layer"), value, { out: 96 }))).values;
  expect((await product(64, x)).subarray(0, 32 * 96)).toEqual(await product(32, x.subarray(0, 32 * 640)));
});

it("makes a large result in pieces that fit a cache", async () => {
  const [rows, inFeatures, out] = [1024, 64, 5000];
  const layer = layerOf(out, inFeatures, (row, column) => ((row + 3 * column) % 255) - 127);
  const x = wave(rows * inFeatures);
  const { values, graph } = await run([rows], inFeatures, x, (g, input) =>
    linear(g, scopeOf({ layer }, EXACT).at("layer"), input, { out }),
  );
  expectClose(values, expected(x, layer), 1e-6, "a product in pieces");
  const products = graph.nodes.filter(({ operator }) => operator === "MatMulIntegerToFloat").map(({ outputs }) => outputs[0]?.shape);
  expect(products).toEqual([
    [rows, 1680],
    [rows, 1680],
    [rows, 1640],
  ]);
  expect(operatorsOf(graph).filter((operator) => operator === "QuantizeLinear")).toHaveLength(1);
});

it("rounds what queries, keys and values read once, fused or not", async () => {
  const layer = layerOf(128, 128, (row, column) => ((row * 5 + column) % 255) - 127);
  const names = ["to_q", "to_k", "to_v", "to_out.0"];
  const weights = scopeOf(Object.fromEntries(names.map((name) => [name, layer])), EXACT);
  const options = { heads: 2, headDim: 64, bias: true };
  const { graph } = await run([1, 64], 128, wave(64 * 128), (g, x) => attention(g, weights, x, options));
  expect(operatorsOf(graph).filter((operator) => operator === "MatMulIntegerToFloat")).toHaveLength(4);
  expect(operatorsOf(graph).filter((operator) => operator === "QuantizeLinear")).toHaveLength(2);
  const fused = await run([1, 64], 128, wave(64 * 128), (g, x) => {
    const [first, second] = fusedLinear(g, [weights.at("to_q"), weights.at("to_k")], x, { out: 128, bias: true }) as [Value, Value];
    return first.shape.length === second.shape.length ? first : second;
  });
  const single = await run([1, 64], 128, wave(64 * 128), (g, x) => linear(g, weights.at("to_q"), x, { out: 128 }));
  expect(fused.values).toEqual(single.values);
});

describe("stays faithful", () => {
  const layer = layerOf(128, 128, (row, column) => ((row * 5 + column) % 255) - 127);
  const operators = async (rows: number | number[], options: LinearOptions, kind: IntegerProducts | undefined) =>
    operatorsOf(
      (
        await run([rows].flat(), 128, wave(elementCount([rows, 128].flat())), (g, x) =>
          linear(g, scopeOf({ layer }, kind).at("layer"), x, options),
        )
      ).graph,
    );

  it("where nothing else is asked for, with few rows in each of a batch, and where a layer says so", async () => {
    expect(await operators(8, { out: 128 }, "signed")).toContain("MatMulIntegerToFloat");
    expect(await operators(8, { out: 128 }, undefined)).not.toContain("MatMulIntegerToFloat");
    expect(await operators([8, 7], { out: 128 }, "signed")).not.toContain("MatMulIntegerToFloat");
    expect(await operators(8, { out: 128, faithful: true }, "signed")).not.toContain("MatMulIntegerToFloat");
  });

  it("where texts and timesteps enter", async () => {
    const embedder = scopeOf({ linear_1: layer, linear_2: layer }, EXACT);
    const entered = await run([64], 128, wave(64 * 128), (g, x) => twoLinear(g, embedder, x, 128, (_, value) => value));
    expect(operatorsOf(entered.graph)).not.toContain("MatMulIntegerToFloat");
  });

  it.each(["qfloat8", "qint4", "qint2"])("with weights of %s", async (name) => {
    const values = Float32Array.from({ length: 128 * 128 }, (_, i) => Math.sin(i));
    const { data, scale, shift } = quantizeWeight(values, { name: "weight", shape: [128, 128], dtype: "float32", qtype: findQType(name) });
    const tensors = new Map<string, StoredTensor>();
    for (const part of [data, scale, ...(shift ? [shift] : [])]) {
      const tensor = `layer.weight.${part.key}`;
      const source = memorySource(tensor, part.bytes);
      tensors.set(tensor, { name: tensor, dtype: part.dtype, shape: part.shape, source, offset: 0, sizeBytes: part.bytes.length });
    }
    const qtypes = new Map([["layer", findQType(name).name]]);
    const made = (integerProducts?: IntegerProducts) =>
      run([64], 128, wave(64 * 128), (g, x) =>
        linear(g, Weights.of({ component: "test", name: "test", tensors, qtypes, integerProducts }).at("layer"), x, {
          out: 128,
          bias: false,
        }),
      );
    expect((await made("signed")).values).toEqual((await made()).values);
  });
});
