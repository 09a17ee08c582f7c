/** A runtime that passes everything on to another and counts: what was compiled, how, and what is still held. */
import type { Graph } from "../../src/graph/graph.ts";
import type { CompileOptions, Program, Runtime } from "../../src/runtime/runtime.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";

/** Counts programs; `failAtRun` makes that run fail, counted from 1 over all programs. */
export class CountingRuntime implements Runtime {
  readonly name = "counting";
  compiled = 0;
  runs = 0;
  /** Programs that are compiled and not disposed of, now and at most. */
  held = 0;
  mostHeld = 0;
  /** What each compilation asked for, in order. */
  readonly keepScratchMemory: boolean[] = [];
  failAtRun: number | undefined;
  failAtCompile: number | undefined;
  readonly #inner: Runtime;

  constructor(inner: Runtime) {
    this.#inner = inner;
  }

  async compile(graph: Graph, options: CompileOptions): Promise<Program> {
    if (this.compiled + 1 === this.failAtCompile) throw new Error("planted failure of a compilation");
    const program = await this.#inner.compile(graph, options);
    this.compiled++;
    this.held++;
    this.mostHeld = Math.max(this.mostHeld, this.held);
    this.keepScratchMemory.push(options.keepScratchMemory);
    let isHeld = true;
    return {
      run: async (inputs, into) => {
        if (++this.runs === this.failAtRun) throw new Error("planted failure of a run");
        return program.run(inputs, into);
      },
      dispose: async () => {
        await program.dispose();
        if (isHeld) this.held--;
        isHeld = false;
      },
    };
  }
}

/** A runtime that gives zeros: for models whose weights are larger than a test may be. */
export const zerosRuntime: Runtime = {
  name: "zeros",
  compile: async (graph) => ({
    run: async () => Object.fromEntries(Array.from(graph.outputs, ([name, { shape }]) => [name, floatTensor(shape)])),
    dispose: async () => {},
  }),
};
