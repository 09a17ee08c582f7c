/** The error of the transformer's prediction with some layers quantized: recorded calls made again, on the latents that they had. */
import { throwIfCancelled } from "../../checkpoint/cancel.ts";
import { finish } from "../../runtime/executor.ts";
import type { PipelineParts } from "../parts.ts";
import type { PipelineClass, WorkSize } from "../pipeline-class.ts";
import { ErrorSum } from "./error-sum.ts";
import type { Recording } from "./recording.ts";

/** The slot of what predicts; the other parts with layers encode texts. */
export const TRANSFORMER = "transformer";

/** A frozen pipeline whose layers can be quantized one by one. */
export interface Probed {
  readonly pipelineClass: PipelineClass;
  readonly parts: PipelineParts;
  readonly recordings: readonly Recording[];
  readonly signal: AbortSignal | undefined;
}

/** Names of layers by part. */
export type LayersByPart = ReadonlyMap<string, ReadonlySet<string>>;

/** Lets a pipeline calculate with these of its quantized layers, and with float weights elsewhere. */
export function useLayers({ models }: PipelineParts, layers: LayersByPart): void {
  for (const [part, model] of models) model?.useQuantized(layers.get(part) ?? []);
}

/** The relative RMS error of all recorded predictions with these layers quantized; texts are encoded again where an encoder has one of them. */
export async function predictionError({ pipelineClass, parts, recordings, signal }: Probed, layers: LayersByPart): Promise<number> {
  useLayers(parts, layers);
  const encodes = Array.from(layers).some(([part, names]) => part !== TRANSFORMER && names.size > 0);
  const sum = new ErrorSum();
  for (const { request, size, conditioning, calls } of recordings) {
    throwIfCancelled(signal);
    const texts = encodes ? await finish(pipelineClass.encode(parts, request)) : conditioning;
    const denoiser = pipelineClass.denoiser(parts, request, size as WorkSize, texts);
    try {
      for (const { latents, timestep, index, prediction } of calls) {
        sum.add(await finish(denoiser.predict(latents, timestep, index)), prediction);
      }
    } finally {
      await denoiser.dispose();
    }
  }
  return sum.relative();
}
