import { describe, expect, it } from "vitest";
import { CountingRuntime, zerosRuntime } from "../../test/support/counting-runtime.ts";
import { memorySource } from "../checkpoint/memory-source.ts";
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import { CancelledError } from "../errors.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { add } from "../graph/operators.ts";
import type { ModelGraph } from "../graph/segment.ts";
import type { DType } from "../tensor/dtype.ts";
import { floatTensor } from "../tensor/tensor.ts";
import { Executor, finish, type HoldPlan } from "./executor.ts";
import { onnxRuntimeNode } from "./onnxruntime-node.ts";
import type { Runtime } from "./runtime.ts";

const STREAMED: HoldPlan = { hold: "streamed", segmentsPerProgram: 1 };
const RESIDENT: HoldPlan = { hold: "resident", segmentsPerProgram: 1 };
const INPUTS = { x: floatTensor([1], Float32Array.of(10)) };

/** x + 1 + 2 + 3, a segment for each number, and the first sum as a second output. */
const sums: ModelGraph = {
  dtype: "float32",
  inputs: { x: { shape: [1], dtype: "float32" } },
  segments: [1, 2, 3].map((number) => ({
    name: `add ${number}`,
    build: (g: Graph, { x }: Readonly<Record<string, Value>>) => {
      const sum = add(g, x as Value, g.floats([number]));
      return number === 1 ? { x: sum, first: sum } : { x: sum };
    },
  })),
  outputs: ["x", "first"],
};

function open(plan: HoldPlan) {
  const runtime = new CountingRuntime(onnxRuntimeNode({ threads: 1 }));
  return { runtime, executor: new Executor(runtime, sums, plan) };
}

describe("a streamed model", () => {
  it("compiles every segment anew for every run, and holds one at a time", async () => {
    const { runtime, executor } = open(STREAMED);
    for (const run of [1, 2]) {
      const { x, first } = await finish(executor.run(INPUTS));
      expect([x?.data, first?.data]).toEqual([Float32Array.of(16), Float32Array.of(11)]);
      expect(runtime).toMatchObject({ compiled: 3 * run, runs: 3 * run, held: 0, mostHeld: 1 });
    }
    expect(runtime.keepScratchMemory).toEqual(Array<boolean>(6).fill(true));
    await executor.dispose();
    expect(runtime.held).toBe(0);
  });

  it("holds nothing after a run that failed, and works again", async () => {
    const { runtime, executor } = open(STREAMED);
    runtime.failAtRun = 2;
    await expect(finish(executor.run(INPUTS))).rejects.toThrow("planted failure of a run");
    expect(runtime).toMatchObject({ compiled: 2, held: 0 });
    expect((await finish(executor.run(INPUTS))).x?.data).toEqual(Float32Array.of(16));
    expect(runtime.held).toBe(0);
  });

  it("holds nothing while the caller looks at its progress", async () => {
    const { runtime, executor } = open(STREAMED);
    const seen: unknown[] = [];
    for await (const progress of executor.run(INPUTS)) {
      seen.push(progress);
      expect(runtime.held).toBe(0);
    }
    expect(seen).toEqual([0, 1, 2, 3].map((done) => ({ done, total: 3 })));
  });
});

describe("a resident model", () => {
  it("compiles every program once and releases all of them when it is disposed of", async () => {
    const { runtime, executor } = open(RESIDENT);
    for (let run = 0; run < 3; run++) expect((await finish(executor.run(INPUTS))).x?.data).toEqual(Float32Array.of(16));
    expect(runtime).toMatchObject({ compiled: 3, runs: 9, held: 3, mostHeld: 3 });
    // Each of several programs would keep scratch memory of its own.
    expect(runtime.keepScratchMemory).toEqual([false, false, false]);
    await executor.dispose();
    await executor.dispose();
    expect(runtime.held).toBe(0);
  });

  it("keeps scratch memory where there is one program, and progress counts its segments", async () => {
    const { runtime, executor } = open({ hold: "resident", segmentsPerProgram: 2 });
    const seen: unknown[] = [];
    for await (const { done } of executor.run(INPUTS)) seen.push(done);
    expect(seen).toEqual([0, 2, 3]);
    expect(runtime.keepScratchMemory).toEqual([false, false]);
    await executor.dispose();
    const whole = open({ hold: "resident", segmentsPerProgram: 3 });
    await finish(whole.executor.run(INPUTS));
    expect(whole.runtime.keepScratchMemory).toEqual([true]);
    await whole.executor.dispose();
    expect([runtime.held, whole.runtime.held]).toEqual([0, 0]);
  });

  it("compiles again after it was disposed of", async () => {
    const { runtime, executor } = open(RESIDENT);
    await finish(executor.run(INPUTS));
    await executor.dispose();
    expect((await finish(executor.run(INPUTS))).x?.data).toEqual(Float32Array.of(16));
    expect(runtime).toMatchObject({ compiled: 6, held: 3 });
    await executor.dispose();
    expect(runtime.held).toBe(0);
  });

  it.each(["failAtRun", "failAtCompile"] as const)("releases what it had compiled after %s", async (fault) => {
    const { runtime, executor } = open(RESIDENT);
    runtime[fault] = 3;
    await expect(finish(executor.run(INPUTS))).rejects.toThrow("planted failure");
    expect(runtime.held).toBeGreaterThan(0);
    await executor.dispose();
    expect(runtime.held).toBe(0);
  });
});

describe.each([STREAMED, RESIDENT])("a $hold model", (plan) => {
  it("stops before the next segment when the signal is raised", async () => {
    const { runtime, executor } = open(plan);
    const controller = new AbortController();
    const stopped = async () => {
      for await (const { done } of executor.run(INPUTS, controller.signal)) if (done === 1) controller.abort("enough");
    };
    const error = await stopped().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(CancelledError);
    expect(error).toMatchObject({ message: "stopped on request", cause: "enough" });
    expect(runtime.runs).toBe(1);
    await executor.dispose();
    expect(runtime.held).toBe(0);
  });

  it("runs nothing more when the caller leaves the loop", async () => {
    const { runtime, executor } = open(plan);
    for await (const { done } of executor.run(INPUTS)) if (done === 2) break;
    expect(runtime.runs).toBe(2);
    await executor.dispose();
    expect(runtime.held).toBe(0);
  });

  it("gives the signal its turn between segments", async () => {
    const runtime = new CountingRuntime(zerosRuntime);
    const executor = new Executor(runtime, sums, plan);
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 0);
    await expect(finish(executor.run(INPUTS, controller.signal))).rejects.toThrow("stopped on request");
    expect(runtime.runs).toBeLessThan(3);
    await executor.dispose();
  });
});

describe("the weights of the next program", () => {
  /** What was prefetched before each run. */
  async function prefetched(plan: HoldPlan, isRepeated: boolean): Promise<string[][]> {
    const found: string[][] = [];
    const runtime: Runtime = {
      ...zerosRuntime,
      memory: { isRepeated },
      prefetch: (weights) => found.push(Array.from(weights, ({ name }) => name)),
    };
    const executor = new Executor(runtime, modelWithWeight("float32", [1]), plan);
    await finish(executor.run(INPUTS));
    await executor.dispose();
    return found;
  }

  it("are read while one runs, and the first one's again before the next call", async () => {
    expect(await prefetched(STREAMED, true)).toEqual([["weight"], []]);
    expect(await prefetched(STREAMED, false)).toEqual([["weight"]]);
  });

  it("are not where there is one program", async () => {
    expect(await prefetched({ hold: "resident", segmentsPerProgram: 2 }, true)).toEqual([]);
  });
});

describe("a model without a plan", () => {
  // 256 MiB when widened to float32, the most that is compiled whole.
  const most = [1024, 65536];

  it.each<[string, DType, readonly number[], boolean]>([
    ["float32 weights at the limit", "float32", most, true],
    ["float16 weights at the limit", "float16", most, true],
    ["float32 weights beyond the limit", "float32", [1025, 65536], false],
    ["float16 weights beyond the limit when they are widened", "float16", [1025, 65536], false],
  ])("decides by its %s", async (_, dtype, shape, isWhole) => {
    const runtime = new CountingRuntime(zerosRuntime);
    const executor = new Executor(runtime, modelWithWeight(dtype, shape));
    await finish(executor.run(INPUTS));
    await finish(executor.run(INPUTS));
    expect(runtime).toMatchObject(isWhole ? { compiled: 1, held: 1, mostHeld: 1 } : { compiled: 2, held: 0, mostHeld: 1 });
    await executor.dispose();
    expect(runtime.held).toBe(0);
  });
});

/** Two segments, the second of which has a weight that lies nowhere. */
function modelWithWeight(dtype: DType, shape: readonly number[]): ModelGraph {
  const source = memorySource("nowhere", new Uint8Array());
  const stored: StoredTensor = { name: "weight", dtype, shape, source, offset: 0, sizeBytes: 0 };
  const increment = (g: Graph, { x }: Readonly<Record<string, Value>>) => ({ x: add(g, x as Value, g.floats([1])) });
  const segments = [
    { name: "first", build: increment },
    {
      name: "second",
      build: (g: Graph, state: Readonly<Record<string, Value>>) => {
        g.weight(stored);
        return increment(g, state);
      },
    },
  ];
  return { dtype: "float32", inputs: { x: { shape: [1], dtype: "float32" } }, segments, outputs: ["x"] };
}
