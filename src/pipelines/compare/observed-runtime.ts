/**
 * Two runtimes around a real one: one that looks on, one that runs a single program of a model and passes over the others. With them a block
 * is measured with the inputs that it really has, whatever the model, and without running the blocks around it.
 */
import type { Graph } from "../../graph/graph.ts";
import type { Program, Runtime } from "../../runtime/runtime.ts";
import type { DType } from "../../tensor/dtype.ts";
import { elementCount, type Tensor } from "../../tensor/tensor.ts";

/** Values by their names in the model. */
export type Tensors = Readonly<Record<string, Tensor>>;

/** Tells of every program that has run, before its caller hears of it. */
export function observedRuntime(runtime: Runtime, onRun: (graph: Graph, inputs: Tensors, outputs: Tensors) => Promise<void>): Runtime {
  return {
    ...runtime,
    async compile(graph, options) {
      const program = await runtime.compile(graph, options);
      return {
        async run(inputs) {
          const outputs = await program.run(inputs);
          await onRun(graph, inputs, outputs);
          return outputs;
        },
        dispose: () => program.dispose(),
      };
    },
  };
}

/** Ends the model's run once the one program has given its outputs. */
class EnoughError extends Error {}

/**
 * Runs the one program that `isWanted` with these inputs instead of its own; the programs before it give zeros, those after it do not run.
 * `start` makes the model run on the runtime that it is given. Returns the outputs, or undefined when there is no such program.
 */
export async function runAlone(
  runtime: Runtime,
  isWanted: (graph: Graph) => boolean,
  inputs: Tensors,
  start: (runtime: Runtime) => Promise<void>,
): Promise<Tensors | undefined> {
  let outputs: Tensors | undefined;
  const alone: Runtime = {
    ...runtime,
    async compile(graph, options) {
      if (!isWanted(graph)) return passedOver(graph);
      const program = await runtime.compile(graph, options);
      return {
        async run() {
          outputs = await program.run(inputs);
          throw new EnoughError();
        },
        dispose: () => program.dispose(),
      };
    },
  };
  try {
    await start(alone);
  } catch (error) {
    if (!(error instanceof EnoughError)) throw error;
  }
  return outputs;
}

function passedOver(graph: Graph): Program {
  const zeros = () => Object.fromEntries(Array.from(graph.outputs, ([name, { dtype, shape }]) => [name, zeroTensor(dtype, shape)]));
  return { run: async () => zeros(), dispose: async () => {} };
}

function zeroTensor(dtype: DType, shape: readonly number[]): Tensor {
  const count = elementCount(shape);
  const data = dtype === "int64" ? new BigInt64Array(count) : dtype === "int32" ? new Int32Array(count) : new Float32Array(count);
  return { dtype, shape, data } as Tensor;
}
