/** Makes the pictures of all prompts with one setting of the weights, and measures them against the reference's. */

import type { Pixels } from "../../image/pixels.ts";
import { meanSquaredError, psnrOf, ssim } from "../../image/similarity.ts";
import type { FloatTensor } from "../../tensor/tensor.ts";
import { median } from "../bench/statistics.ts";
import type { PipelineEvent } from "../events.ts";
import type { PipelineParts } from "../parts.ts";
import type { PipelineClass } from "../pipeline-class.ts";
import type { Request } from "../request.ts";
import { type RecipeBase, run } from "../run.ts";
import { ErrorSum } from "./error-sum.ts";
import type { Measured, Similarity } from "./report.ts";

/** A pipeline that makes pictures. */
export interface Maker {
  readonly parts: PipelineParts;
  readonly requests: readonly Request[];
  /** The pictures are looked at and not saved: one recipe does for all. */
  readonly recipe: RecipeBase;
  readonly onEvent: (event: PipelineEvent) => void;
  /** Told before each picture, with how many are done. */
  readonly onPicture: (done: number, total: number) => void;
}

/** What the reference's pictures are remembered by. */
export interface ReferencePictures {
  readonly pictures: readonly Pixels[];
  /** Latents after each step, by prompt. */
  readonly latents: readonly (readonly FloatTensor[])[];
  readonly secondsPerStep: number;
}

/** Makes the reference's pictures; `classFor` may give each prompt a class that looks on. */
export async function makeReference(maker: Maker, classFor: (prompt: number) => PipelineClass): Promise<ReferencePictures> {
  const latents: FloatTensor[][] = maker.requests.map(() => []);
  const made = await makePictures(maker, classFor, (prompt, index, values) => {
    (latents[prompt] as FloatTensor[])[index] = values;
  });
  return { ...made, latents };
}

/** Makes pictures and measures them against the reference's. */
export async function measurePictures(maker: Maker, pipelineClass: PipelineClass, reference: ReferencePictures) {
  const errors: ErrorSum[] = [];
  const { pictures, secondsPerStep } = await makePictures(
    maker,
    () => pipelineClass,
    (prompt, index, { data }) => {
      const sum = errors[index] ?? new ErrorSum();
      errors[index] = sum;
      sum.add(data, reference.latents[prompt]?.[index]?.data ?? []);
    },
  );
  const pairs = pictures.map((picture, i) => [picture, reference.pictures[i] as Pixels] as const);
  const squared = pairs.map(([a, b]) => meanSquaredError(a, b));
  const ssims = pairs.map(([a, b]) => ssim(a, b));
  const similar = (meanSquared: number, structural: number): Similarity => {
    return { psnr: meanSquared === 0 ? null : psnrOf(meanSquared), ssim: structural };
  };
  const measured: Measured = {
    ...weightBytesOf(maker.parts),
    secondsPerStep,
    similarity: similar(mean(squared), mean(ssims)),
    pictures: squared.map((value, i) => similar(value, ssims[i] as number)),
    latentErrors: errors.map((sum) => sum.relative()),
    predictionError: null,
  };
  return { measured, pictures };
}

/** Bytes of the weights as they are used now. */
export function weightBytesOf({ models }: PipelineParts): Pick<Measured, "weightBytes" | "partBytes"> {
  const partBytes = Object.fromEntries(Array.from(models).flatMap(([part, model]) => (model === null ? [] : [[part, model.weightBytes]])));
  return { weightBytes: Object.values(partBytes).reduce((sum, bytes) => sum + bytes, 0), partBytes };
}

async function makePictures(
  { parts, requests, recipe, onEvent, onPicture }: Maker,
  classFor: (prompt: number) => PipelineClass,
  onLatents: (prompt: number, index: number, latents: FloatTensor) => void,
) {
  const pictures: Pixels[] = [];
  const seconds: number[] = [];
  for (const [prompt, request] of requests.entries()) {
    onPicture(prompt, requests.length);
    for await (const event of run(classFor(prompt), parts, request, recipe)) {
      onEvent(event);
      if (event.type === "image") pictures.push(event.image);
      if (event.type !== "step") continue;
      seconds.push(event.seconds);
      onLatents(prompt, event.step - 1, event.latents);
    }
  }
  onPicture(requests.length, requests.length);
  return { pictures, secondsPerStep: median(seconds) ?? 0 };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
