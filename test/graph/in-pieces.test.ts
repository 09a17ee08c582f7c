/** Rows that are widened some after the others, against all at once. */
import { expect, it } from "vitest";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import { Weights } from "../../src/checkpoint/weights.ts";
import { Graph, type Value } from "../../src/graph/graph.ts";
import { cast } from "../../src/graph/operators.ts";
import { attention } from "../../src/nn/attention.ts";
import { feedForward } from "../../src/nn/feed-forward.ts";
import { inPieces } from "../../src/nn/in-pieces.ts";
import { predictGraphMemory } from "../../src/runtime/graph-memory.ts";
import { onnxRuntimeNode } from "../../src/runtime/onnxruntime-node.ts";
import { fromFloat32 } from "../../src/tensor/convert.ts";
import { elementCount, floatTensor } from "../../src/tensor/tensor.ts";

const WIDTH = 64;

function layers(): Weights {
  const shapes = { "net.0.proj.weight": [256, 64], "net.0.proj.bias": [256], "net.2.weight": [64, 256], "net.2.bias": [64] };
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const values = Float32Array.from({ length: elementCount(shape) }, (_, i) => Math.sin(i * 0.7 + name.length) * 0.2);
    const bytes = fromFloat32(values, "float16");
    return [name, { name, dtype: "float16", shape, source: memorySource(name, bytes), offset: 0, sizeBytes: bytes.length }] as const;
  });
  return Weights.of({ component: "test", name: "test", tensors: new Map(tensors) });
}

async function run(rows: number, apply: (g: Graph, x: Value) => Value): Promise<{ graph: Graph; values: Float32Array }> {
  const graph = new Graph("float32");
  graph.output("y", apply(graph, graph.input("x", [2, rows, WIDTH])));
  const program = await onnxRuntimeNode().compile(graph, { keepScratchMemory: false });
  const input = Float32Array.from({ length: 2 * rows * WIDTH }, (_, i) => Math.cos(i * 0.3));
  const { y } = await program.run({ x: floatTensor([2, rows, WIDTH], input) });
  await program.dispose();
  return { graph, values: y?.data as Float32Array };
}

const slices = (graph: Graph) => graph.nodes.filter(({ operator }) => operator === "Slice").length;

it("gives the same bits in pieces", async () => {
  const weights = layers();
  const whole = await run(1000, (g, x) => feedForward(g, weights, x));
  // As if each row were widened to 50,000 values: 0.4 GB in all.
  const pieces = await run(1000, (g, x) => inPieces(g, x, 5e4, (rows) => feedForward(g, weights, rows)));
  expect([slices(whole.graph), slices(pieces.graph)]).toEqual([0, 13]);
  expect(pieces.values).toEqual(whole.values);
  expect(pieces.graph.modules.map(({ name }) => name)).toEqual(whole.graph.modules.map(({ name }) => name));
});

it("makes no piece of few rows, however many pictures there are", () => {
  const rowsOf = (rows: number, widened: number) => {
    const found: number[] = [];
    const g = new Graph("float32");
    inPieces(g, g.input("x", [2, rows, WIDTH]), widened, (piece) => {
      found.push(piece.shape[1] as number);
      return piece;
    });
    return found;
  };
  expect(rowsOf(1000, 3e4)).toEqual([125, 125, 125, 125, 125, 125, 125, 125]);
  expect(rowsOf(200, 1e9)).toEqual([67, 66, 67]);
  expect(rowsOf(100, 1e9)).toEqual([100]);
});

it("attends with a mask in pieces of queries, whose scores are the same", async () => {
  const keys = 300;
  const mask = BigInt64Array.from({ length: 2 * keys }, (_, i) => (i % keys < 40 + Math.floor(i / keys) ? 1n : 0n));
  const context = floatTensor(
    [2, keys, WIDTH],
    Float32Array.from({ length: 2 * keys * WIDTH }, (_, i) => Math.sin(i * 0.11)),
  );
  const weights = Weights.of({
    component: "test",
    name: "test",
    tensors: new Map(
      ["to_q", "to_k", "to_v", "to_out.0"].map((name, place) => {
        const bytes = new Uint8Array(Float32Array.from({ length: WIDTH * WIDTH }, (_, i) => Math.sin(i + place) * 0.2).buffer);
        const weight = `${name}.weight`;
        const stored = {
          dtype: "float32" as const,
          shape: [WIDTH, WIDTH],
          source: memorySource(weight, bytes),
          offset: 0,
          sizeBytes: bytes.length,
        };
        return [weight, { name: weight, ...stored }] as const;
      }),
    ),
  });
  const attend = async (rows: number, first: number) => {
    const graph = new Graph("float32");
    const options = { heads: 4, headDim: 16, bias: false, outBias: false };
    const given = {
      context: graph.input("context", context.shape),
      keyMask: cast(graph, graph.input("mask", [2, keys], "int64"), "int32"),
    };
    graph.output("y", attention(graph, weights, graph.input("x", [2, rows, WIDTH]), { ...options, ...given }));
    const program = await onnxRuntimeNode().compile(graph, { keepScratchMemory: false });
    const all = Array.from({ length: 2 }, (_, picture) =>
      Array.from({ length: rows * WIDTH }, (_unused, i) => Math.cos((picture * 9000 + first) * WIDTH + i)),
    );
    const x = floatTensor([2, rows, WIDTH], Float32Array.from(all.flat()));
    const { y } = await program.run({ x, context, mask: { dtype: "int64", shape: [2, keys], data: mask } });
    await program.dispose();
    const values = y?.data as Float32Array;
    return { graph, picture: (i: number) => values.subarray(i * rows * WIDTH, (i + 1) * rows * WIDTH) };
  };
  const pieces = await attend(9000, 0);
  const [first, last] = [await attend(1000, 0), await attend(1000, 8000)];
  expect([slices(pieces.graph), slices(first.graph)]).toEqual([3, 0]);
  for (const picture of [0, 1]) {
    expect(pieces.picture(picture).subarray(0, 1000 * WIDTH)).toEqual(first.picture(picture));
    expect(pieces.picture(picture).subarray(8000 * WIDTH)).toEqual(last.picture(picture));
  }
});

it("never holds all widened rows of a large picture", () => {
  const rows = 2 ** 17;
  const graph = new Graph("float32");
  graph.output("y", feedForward(graph, layers(), graph.input("x", [2, rows, WIDTH])));
  const widenedBytes = 4 * 2 * rows * 4 * WIDTH;
  expect(slices(graph)).toBe(Math.ceil(widenedBytes / 32e6));
  // Beside them the result, in pieces and joined.
  const resultBytes = widenedBytes / 4;
  expect(predictGraphMemory(graph).arenaBytes).toBeLessThan(2 * resultBytes + 0.7 * widenedBytes);
});
