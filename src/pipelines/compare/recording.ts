/**
 * A pipeline class that remembers, while pictures are made: what the transformer was conditioned on and some of its calls, and how many
 * programs each part was run as. The calls can be made again with other weights, with the inputs that they really had.
 */
import type { StoredTensor } from "../../checkpoint/stored-tensor.ts";
import type { Graph } from "../../graph/graph.ts";
import type { FloatTensor } from "../../tensor/tensor.ts";
import { floatTensor } from "../../tensor/tensor.ts";
import type { PipelineParts } from "../parts.ts";
import type { PipelineClass, WorkSize } from "../pipeline-class.ts";
import type { Request } from "../request.ts";
import { observedRuntime } from "./observed-runtime.ts";

/** One prediction of the transformer, guidance applied. */
export interface RecordedCall {
  readonly latents: FloatTensor;
  readonly timestep: number;
  /** Step, counted from 0. */
  readonly index: number;
  readonly prediction: Float32Array;
}

/** What is kept of one picture's making. */
export interface Recording {
  readonly request: Request;
  size?: WorkSize;
  conditioning?: unknown;
  readonly calls: RecordedCall[];
}

/** Records into `recording` the calls at the wanted steps, and into `programs` the graphs of each part. */
export function recordingClass(
  pipelineClass: PipelineClass,
  recording: Recording,
  wanted: ReadonlySet<number>,
  programs: Map<string, Set<Graph>>,
): PipelineClass {
  const observed = (parts: PipelineParts): PipelineParts => {
    const runtime = observedRuntime(parts.runtime, async (graph) => {
      const part = partOfGraph(parts, graph);
      if (part !== undefined) programs.set(part, (programs.get(part) ?? new Set()).add(graph));
    });
    return { ...parts, runtime };
  };
  return {
    ...pipelineClass,
    async *encode(parts, request) {
      recording.conditioning = yield* pipelineClass.encode(observed(parts), request);
      return recording.conditioning;
    },
    denoiser(parts, request, size, conditioning) {
      recording.size = size;
      const inner = pipelineClass.denoiser(observed(parts), request, size, conditioning);
      return {
        async *predict(latents, timestep, index) {
          const prediction = yield* inner.predict(latents, timestep, index);
          if (wanted.has(index)) {
            const kept = floatTensor(latents.shape, latents.data.slice());
            recording.calls.push({ latents: kept, timestep, index, prediction: prediction.slice() });
          }
          return prediction;
        },
        dispose: () => inner.dispose(),
      };
    },
  };
}

/** The part that a graph's weights belong to. */
export function partOfGraph({ models }: PipelineParts, graph: Graph): string | undefined {
  const sources = new Set(Array.from(graph.weights.values(), (stored: StoredTensor) => stored.source));
  for (const [name, model] of models) {
    if (model !== null && [...model.storedTensors, ...model.tensors].some(({ source }) => sources.has(source))) return name;
  }
  return undefined;
}
