import { describe, expect, it } from "vitest";
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { Graph as NewGraph } from "../graph/graph.ts";
import { conv2d, matMulIntegers, matMulTransposed, multiHeadAttention } from "../graph/operators.ts";
import type { ModelGraph } from "../graph/segment.ts";
import { graphFlops } from "./graph-flops.ts";
import { planHold } from "./hold-plan.ts";

/** Six products with a weight of 4096 x 4096, 64 MiB as float32 each. */
function products(rows: number): ModelGraph {
  return {
    dtype: "float32",
    inputs: { x: { shape: [rows, 4096], dtype: "float32" } },
    segments: Array.from({ length: 6 }, (_, i) => ({
      name: `product ${i}`,
      build: (g: Graph, { x }: Readonly<Record<string, Value>>) => ({ x: matMulTransposed(g, x as Value, g.weight(weight(`${i}`))) }),
    })),
    outputs: ["x"],
  };
}

/** The same, each leaving a result of 64 MiB that reaches the end: the more segments share a program, the more results it holds twice. */
function waitingResults(): ModelGraph {
  const model = products(64);
  const segments = model.segments.map(({ name, build }) => ({
    name,
    build: (g: Graph, state: Readonly<Record<string, Value>>) => {
      const { x } = build(g, state) as { x: Value };
      return { x, [name]: g.node("Expand", [x], [64, 64, 4096]) };
    },
  }));
  return { ...model, segments, outputs: segments.map(({ name }) => name) };
}

function weight(name: string): StoredTensor {
  return { name, dtype: "float32", shape: [4096, 4096], offset: 0, sizeBytes: 4 * 4096 ** 2 } as unknown as StoredTensor;
}

describe("a model that is too large to be small", () => {
  it("is one program where it is called again and again and does not take long", () => {
    expect(planHold(products(64), { isRepeated: true })).toMatchObject({ hold: "resident", segmentsPerProgram: 6 });
  });

  it("is streamed where it is called once", () => {
    expect(planHold(products(64))).toMatchObject({ hold: "streamed", segmentsPerProgram: 4 });
  });

  it("is one program on request, where it is called again and again", () => {
    expect(planHold(products(32_768), { prefer: "resident", isRepeated: true })).toMatchObject({ segmentsPerProgram: 6 });
    expect(planHold(products(64), { prefer: "resident" })).toMatchObject({ hold: "streamed", segmentsPerProgram: 4 });
  });

  it("is streamed where one call of it would keep its caller waiting", () => {
    expect(planHold(products(32_768), { isRepeated: true })).toMatchObject({ hold: "streamed", segmentsPerProgram: 4 });
  });

  it("is streamed on request, with more than a segment a program only where that takes hardly more memory", () => {
    expect(planHold(products(64), { prefer: "streamed", isRepeated: true })).toMatchObject({ hold: "streamed", segmentsPerProgram: 4 });
    expect(planHold(waitingResults(), { prefer: "streamed" })).toMatchObject({ hold: "streamed", segmentsPerProgram: 1 });
  });

  it("is streamed where that alone fits", () => {
    const whole = planHold(waitingResults(), { isRepeated: true });
    expect(whole).toMatchObject({ hold: "resident" });
    const tight = planHold(waitingResults(), { isRepeated: true, budgetBytes: whole.peakBytes - 1 });
    expect(tight).toMatchObject({ hold: "streamed" });
  });
});

it("counts the operations of products, attention and convolutions", () => {
  const g = new NewGraph("float32");
  const x = g.input("x", [2, 10, 64]);
  g.output("product", matMulTransposed(g, x, g.input("w", [32, 64])));
  const keys = g.input("keys", [2, 7, 64]);
  g.output("mixed", multiHeadAttention(g, x, keys, keys, { heads: 4, scale: 1 }));
  const kernel = g.input("kernel", [5, 3, 3, 3]);
  g.output("convolved", conv2d(g, g.input("map", [1, 3, 8, 8]), kernel, undefined, { pads: [1, 1, 1, 1] }));
  const bytes = { codes: g.input("codes", [6, 64], "uint8"), scale: g.input("scale", []) };
  const weight8 = { codes: g.input("weight8", [64, 16], "int8"), scale: g.input("scale8", [16]) };
  g.output("integers", matMulIntegers(g, bytes, weight8));
  expect(graphFlops(g)).toBe(2 * 6 * 16 * 64 + 2 * 20 * 32 * 64 + 4 * 2 * 10 * 7 * 64 + 2 * 5 * 64 * 27);
});
