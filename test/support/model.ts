/** Opens fixture models and runs one call of a model graph. */
import { existsSync, readFileSync } from "node:fs";
import { onTestFinished } from "vitest";
import { openFolder } from "../../src/checkpoint/file-source-node.ts";
import { openWeights } from "../../src/checkpoint/weight-store.ts";
import { Weights, type WeightTable } from "../../src/checkpoint/weights.ts";
import type { ModelGraph } from "../../src/graph/segment.ts";
import { Executor, finish, type HoldPlan } from "../../src/runtime/executor.ts";
import { onnxRuntimeNode } from "../../src/runtime/onnxruntime-node.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import { drawWeights } from "./drawn-weights.ts";
import { fixturePath } from "./fixture.ts";

/** A fixture checkpoint: its config as read, and its weights as a scope. */
export async function openFixtureModel(path: string, baseName: "model" | "diffusion_pytorch_model") {
  const { config, table } = await openFixtureTable(path, baseName);
  return { config, weights: Weights.of(table) };
}

/** A fixture checkpoint: its config as read, and the table of its tensors. */
export async function openFixtureTable(
  path: string,
  baseName: "model" | "diffusion_pytorch_model",
): Promise<{ config: Record<string, unknown>; table: WeightTable }> {
  const config = JSON.parse(readFileSync(fixturePath(`${path}/config.json`), "utf8")) as Record<string, unknown>;
  if (existsSync(fixturePath(`${path}/weights.json`))) return { config, table: drawWeights(path) };
  const store = await openWeights(await openFolder(fixturePath(path)), "", { baseNames: [baseName] });
  onTestFinished(() => store.close());
  return { config, table: store };
}

/** Compiles a model, calls it once, releases it; the outputs by name. */
export async function runModel(model: ModelGraph, inputs: Record<string, Tensor>, plan?: HoldPlan): Promise<Record<string, Float32Array>> {
  const executor = new Executor(onnxRuntimeNode({ threads: 1 }), model, plan);
  try {
    const outputs = await finish(executor.run(inputs));
    // A segment that does not make the value asked for by withIntermediates leaves its output out.
    const made = Object.entries(outputs).filter(([, tensor]) => tensor !== undefined);
    return Object.fromEntries(made.map(([name, tensor]) => [name, tensor.data as Float32Array]));
  } finally {
    await executor.dispose();
  }
}

/** The same model with the value `name` after every segment that makes it as outputs of their own, called `<segment>/<name>`. */
export function withIntermediates(model: ModelGraph, name: string): ModelGraph {
  const segments = model.segments.map((segment) => ({
    name: segment.name,
    build: (...[g, state]: Parameters<typeof segment.build>) => {
      const result = segment.build(g, state);
      return result[name] === undefined ? result : { ...result, [`${segment.name}/${name}`]: result[name] };
    },
  }));
  const extra = segments.map((segment) => `${segment.name}/${name}`);
  return { ...model, segments, outputs: [...model.outputs, ...extra.slice(0, -1)] };
}
