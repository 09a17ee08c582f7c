/** What every runtime must do; called by the tests of each implementation. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { ByteSource } from "../checkpoint/byte-source.ts";
import { openFile } from "../checkpoint/file-source-node.ts";
import { memorySource } from "../checkpoint/memory-source.ts";
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import { EngineError } from "../errors.ts";
import { Graph } from "../graph/graph.ts";
import { add, matMulTransposed } from "../graph/operators.ts";
import { weightValue } from "../nn/weight.ts";
import { type FloatDType, fromFloat32, toFloat32 } from "../tensor/convert.ts";
import { type ComputeDType, type DType, elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount, floatTensor } from "../tensor/tensor.ts";
import type { Runtime } from "./runtime.ts";

const OPTIONS = { keepScratchMemory: false };
/** Ties, subnormals of the narrow types, values that overflow them, signed zeros, and thirds. */
const TRICKY = Float32Array.from([
  0,
  -0,
  1,
  -1,
  1 / 3,
  -2 / 3,
  65504,
  65519.99,
  65520,
  1e-7,
  5.9604645e-8,
  2.9802322e-8,
  6.1e-5,
  448,
  449,
  1.00390625,
  1.01171875,
  3.3895314e38,
  1.40129846e-45,
  0.1,
  123456.789,
]);

/** Runs the suite for one runtime. */
export function testRuntime(create: () => Runtime): void {
  const folder = mkdtempSync(path.join(tmpdir(), "halftone-runtime-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("runs a graph more than once, with one result each", async () => {
    const g = new Graph("float32");
    g.output("sum", add(g, g.input("a", [2]), g.input("b", [2])));
    const program = await create().compile(g, OPTIONS);
    for (const b of [3, 5]) {
      const { sum } = await program.run({ a: floatTensor([2], Float32Array.of(1, 2)), b: floatTensor([2], Float32Array.of(b, b)) });
      expect(sum).toEqual(floatTensor([2], Float32Array.of(1 + b, 2 + b)));
    }
    await program.dispose();
  });

  it("gives timers their turn", async () => {
    const runtime = create();
    let isOver = false;
    setTimeout(() => {
      isOver = true;
    }, 0);
    const started = performance.now();
    while (performance.now() - started < 5);
    // The first may come before the timers of its own turn of the event loop.
    await runtime.nextTurn?.();
    await runtime.nextTurn?.();
    expect(isOver || runtime.nextTurn === undefined).toBe(true);
  });

  it("writes outputs to the memory that it is given, and makes memory for the others", async () => {
    const g = new Graph("float32");
    const a = g.input("a", [2]);
    g.output("twice", add(g, a, a));
    g.output("more", add(g, a, g.floats([1])));
    const program = await create().compile(g, OPTIONS);
    const whole = new Float32Array(6);
    const given = floatTensor([2], whole.subarray(3, 5));
    for (const first of [1, 7]) {
      const outputs = await program.run({ a: floatTensor([2], Float32Array.of(first, 2)) }, { twice: given });
      expect(Array.from(whole)).toEqual([0, 0, 0, 2 * first, 4, 0]);
      expect(outputs.twice?.data).toEqual(given.data);
      expect(outputs.more).toEqual(floatTensor([2], Float32Array.of(first + 1, 3)));
    }
    await program.dispose();
  });

  it("finds weights in a file at any offset, and in memory", async () => {
    const values = Float32Array.of(1, 2, 3, 4, 5, 6);
    for (const padding of [0, 8, 4100]) {
      const file = path.join(folder, `weights-${padding}.bin`);
      writeFileSync(file, Buffer.concat([Buffer.alloc(padding), new Uint8Array(values.buffer)]));
      const source = await openFile(file);
      expect(await times(create(), source, padding)).toEqual([14, 32]);
      await source.close();
    }
    expect(await times(create(), memorySource("memory", new Uint8Array(values.buffer)), 0)).toEqual([14, 32]);
  });

  const stored: FloatDType[] = ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"];
  const dtypes: ComputeDType[] = ["float32", "float16", "bfloat16"];
  describe.each(stored)("widens %s", (from) => {
    it.each(dtypes)("loaded as %s, rounding to nearest even", async (dtype) => {
      // Long enough to be unpacked after the layer's input, as large weights are.
      const length = 2 ** 17;
      const values = Float32Array.from(
        { length },
        (_, i) => (TRICKY[i % TRICKY.length] as number) * (1 + Math.floor(i / TRICKY.length) / 997),
      );
      const bytes = fromFloat32(values, from);
      const g = new Graph(dtype);
      const x = g.input("x", [1]);
      const weight = weightValue(g, tensorIn(memorySource("weights", bytes), 0, from, [length]), { after: x });
      g.output("y", add(g, x, weight));
      const program = await create().compile(g, OPTIONS);
      const { y } = await program.run({ x: floatTensor([1]) });
      await program.dispose();
      const rounded = toFloat32(fromFloat32(toFloat32(bytes, from), dtype), dtype);
      const worst = rounded.findIndex((want, i) => !Object.is(want + 0, (y?.data[i] as number) + 0));
      expect({ index: worst, got: y?.data[worst] }).toEqual({ index: -1, got: undefined });
    });
  });

  it("says what the engine says when inputs do not fit, and goes on", async () => {
    const g = new Graph("float32");
    g.output("sum", add(g, g.input("a", [2]), g.input("b", [2])));
    const program = await create().compile(g, OPTIONS);
    await expect(program.run({ a: floatTensor([2]), b: floatTensor([3]) })).rejects.toThrow(EngineError);
    await expect(program.run({ a: floatTensor([2]), b: floatTensor([2]) })).resolves.toBeDefined();
    await program.dispose();
  });

  it("fails after dispose(), which may be called twice", async () => {
    const g = new Graph("float32");
    g.output("sum", add(g, g.input("a", [1]), g.floats([1])));
    const program = await create().compile(g, OPTIONS);
    await program.dispose();
    await program.dispose();
    await expect(program.run({ a: floatTensor([1]) })).rejects.toThrow("a compiled graph was run after it had been disposed of");
  });
}

function tensorIn(source: ByteSource, offset: number, dtype: DType, shape: readonly number[]): StoredTensor {
  return { name: "weight", dtype, shape, source, offset, sizeBytes: elementCount(shape) * elementSizeBytes(dtype) };
}

/** [1, 2, 3] times the transpose of the stored [[1, 2, 3], [4, 5, 6]]. */
async function times(runtime: Runtime, source: ByteSource, offset: number): Promise<number[]> {
  const g = new Graph("float32");
  const x = g.input("x", [1, 3]);
  g.output("y", matMulTransposed(g, x, g.weight(tensorIn(source, offset, "float32", [2, 3]))));
  const program = await runtime.compile(g, OPTIONS);
  const { y } = await program.run({ x: floatTensor([1, 3], Float32Array.of(1, 2, 3)) });
  await program.dispose();
  return Array.from(y?.data as Float32Array);
}
