/** Rows that are widened some after the others, against all at once. */
import { expect, it } from "vitest";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import { Weights } from "../../src/checkpoint/weights.ts";
import { Graph, type Value } from "../../src/graph/graph.ts";
import { feedForward, inPieces } from "../../src/nn/feed-forward.ts";
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
