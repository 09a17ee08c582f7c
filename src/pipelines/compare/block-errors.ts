/**
 * The error that a quantized layer makes in the output of its own block: for models so large that a whole prediction for every layer would take
 * too long.
 *
 * The model runs once in float. Whenever one of its programs (a block, where the model runs block by block) has run, that program runs again for
 * each of its layers, with this layer quantized and the inputs that it has just had; so no more than one block's inputs are held. The error is
 * given relative to what the block adds: to output - input for a value that the block changes, to the output for one that it makes.
 */
import { throwIfCancelled } from "../../checkpoint/cancel.ts";
import type { Graph } from "../../graph/graph.ts";
import { finish } from "../../runtime/executor.ts";
import type { Runtime } from "../../runtime/runtime.ts";
import type { WorkSize } from "../pipeline-class.ts";
import { ErrorSum } from "./error-sum.ts";
import { observedRuntime, runAlone, type Tensors } from "./observed-runtime.ts";
import { type LayersByPart, type Probed, TRANSFORMER, useLayers } from "./prediction-error.ts";
import { partOfGraph, type RecordedCall, type Recording } from "./recording.ts";

/** Told of every layer as it has been measured. */
export type OnLayer = (part: string, name: string, error: number) => void;

/** Measures all these layers in the first call that was recorded; a layer whose block runs several times is told of as often. */
export async function blockErrors(probed: Probed, layers: LayersByPart, onLayer: OnLayer): Promise<void> {
  const recording = probed.recordings[0] as Recording;
  const encoders = Array.from(layers).some(([part, names]) => part !== TRANSFORMER && names.size > 0);
  if (encoders) await measureRun(probed, layers, onLayer, (runtime) => encodeAgain(probed, recording, runtime));
  if ((layers.get(TRANSFORMER)?.size ?? 0) > 0)
    await measureRun(probed, layers, onLayer, (runtime) => predictAgain(probed, recording, runtime));
}

async function measureRun(probed: Probed, layers: LayersByPart, onLayer: OnLayer, start: (runtime: Runtime) => Promise<void>) {
  const { parts, signal } = probed;
  useLayers(parts, new Map());
  const observed = observedRuntime(parts.runtime, async (graph, inputs, outputs) => {
    const part = partOfGraph(parts, graph);
    const wanted = layers.get(part ?? "");
    if (part === undefined || wanted === undefined) return;
    for (const { name } of graph.modules.filter((module) => wanted.has(module.name))) {
      throwIfCancelled(signal);
      useLayers(parts, new Map([[part, new Set([name])]]));
      const quantized = await runAlone(parts.runtime, (other) => isQuantizedIn(other, name), inputs, start);
      if (quantized !== undefined) onLayer(part, name, blockError(quantized, outputs, inputs));
    }
    useLayers(parts, new Map());
  });
  await start(observed);
}

async function encodeAgain({ pipelineClass, parts }: Probed, { request }: Recording, runtime: Runtime): Promise<void> {
  await finish(pipelineClass.encode({ ...parts, runtime }, request));
}

async function predictAgain({ pipelineClass, parts }: Probed, { request, size, conditioning, calls }: Recording, runtime: Runtime) {
  const call = calls[0] as RecordedCall;
  const denoiser = pipelineClass.denoiser({ ...parts, runtime }, request, size as WorkSize, conditioning);
  try {
    await finish(denoiser.predict(call.latents, call.timestep, call.index));
  } finally {
    await denoiser.dispose();
  }
}

/** Parts may have layers of the same name: the one that is meant has codes. */
function isQuantizedIn(graph: Graph, layer: string): boolean {
  return Array.from(graph.weights.keys()).some((name) => name.startsWith(`${layer}.weight._`));
}

/** The largest error among a block's outputs. */
function blockError(got: Tensors, want: Tensors, inputs: Tensors): number {
  let largest = 0;
  for (const [name, { dtype, data }] of Object.entries(want)) {
    if (dtype !== "float32") continue;
    const before = inputs[name]?.data;
    const isChanged = before !== undefined && before.length === data.length;
    const base = isChanged ? data.map((value, i) => value - Number(before[i])) : data;
    const sum = new ErrorSum();
    sum.add(got[name]?.data as Float32Array, data, base);
    largest = Math.max(largest, sum.relative());
  }
  return largest;
}
