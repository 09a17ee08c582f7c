/**
 * Predicts Stable Diffusion 3's flow: one call for negative prompt and prompt, and in the steps of skip-layer guidance one more, of the prompt
 * alone through a transformer without the skipped blocks.
 *
 * Source: diffusers pipelines/stable_diffusion_3/pipeline_stable_diffusion_3.py@0.42.1, denoising loop.
 */

import type { ModelGraph } from "../graph/segment.ts";
import type { SkipLayerGuidance } from "../image/recipe.ts";
import { SD3ConfigSchema } from "../models/sd3/config.ts";
import { type SD3Size, type SD3Text, sd3ConstantInputs, sd3StepInputs, sd3Transformer } from "../models/sd3/model.ts";
import { Executor } from "../runtime/executor.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { batchPieces, doubled, joinBatch, secondHalf } from "./batch.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { PipelineEvent } from "./events.ts";
import { callsOfStep, guide, guideFromSkipped } from "./guidance.ts";
import { callModel } from "./model-call.ts";
import { partConfig } from "./part-configs.ts";
import { modelOf, type PipelineParts } from "./parts.ts";
import type { Denoiser, WorkSize } from "./pipeline-class.ts";
import type { Request } from "./request.ts";

/** The transformer for one size. */
export function sd3Graph(parts: PipelineParts, size: SD3Size): ModelGraph {
  const model = modelOf(parts, "transformer");
  return sd3Transformer(model.weights(parts.integerProducts), partConfig(parts, "transformer", SD3ConfigSchema), model.dtype, size);
}

/** Belongs to one request. */
export class SD3Denoiser implements Denoiser {
  readonly #model: DiffusionModel;
  readonly #request: Request;
  readonly #text: SD3Text;
  /** The text of each call of a step: of the whole batch, or of each half of it. */
  readonly #texts: readonly SD3Text[];
  readonly #executor: Executor;
  readonly #open: (text: SD3Text, skipLayers?: readonly number[]) => Executor;
  /** Opened by the first step that needs it. */
  #skipping: Executor | undefined;

  constructor(parts: PipelineParts, request: Request, size: WorkSize, text: SD3Text) {
    this.#model = modelOf(parts, "transformer");
    this.#request = request;
    this.#text = text;
    const calls = callsOfStep(request.guided, parts.guidance);
    const pooled = batchPieces(text.pooledProjections, calls);
    this.#texts = batchPieces(text.encoderHiddenStates, calls).map((encoderHiddenStates, i) => ({
      encoderHiddenStates,
      pooledProjections: pooled[i] as FloatTensor,
    }));
    this.#open = ({ encoderHiddenStates }, skipLayers = []) => {
      const [batch = 0, textTokens = 0] = encoderHiddenStates.shape;
      const { latentHeight, latentWidth } = size;
      const whole = { batch, latentHeight, latentWidth, textTokens, timesteps: 1, skipLayers };
      return new Executor(parts.runtime, sd3Graph(parts, whole));
    };
    this.#executor = this.#open(this.#texts[0] as SD3Text);
  }

  async *predict(latents: FloatTensor, timestep: number, index: number): AsyncGenerator<PipelineEvent, Float32Array> {
    const { guided, guidanceScale, skipLayerGuidance: skip } = this.#request;
    if (!guided) return (yield* this.#call(this.#executor, this.#text, latents, timestep)).data;
    const given = this.#texts.length === 1 ? doubled(latents) : latents;
    const samples: FloatTensor[] = [];
    for (const text of this.#texts) samples.push(yield* this.#call(this.#executor, text, given, timestep));
    const both = floatTensor([2 * (latents.shape[0] as number), ...latents.shape.slice(1)], joinBatch(samples));
    const prediction = guide(both.data, guidanceScale);
    if (skip === undefined || !this.#skipsAt(index, skip)) return prediction;
    const text = {
      encoderHiddenStates: secondHalf(this.#text.encoderHiddenStates),
      pooledProjections: secondHalf(this.#text.pooledProjections),
    };
    this.#skipping ??= this.#open(text, skip.layers);
    // The plan counts one transformer: the other makes room, and is compiled again for the next step.
    await this.#executor.dispose();
    const skipped = yield* this.#call(this.#skipping, text, latents, timestep);
    await this.#skipping.dispose();
    return guideFromSkipped(prediction, secondHalf(both).data, skipped.data, skip.scale);
  }

  async dispose(): Promise<void> {
    await this.#executor.dispose();
    await this.#skipping?.dispose();
  }

  #skipsAt(index: number, { start, stop }: SkipLayerGuidance): boolean {
    const steps = this.#request.numInferenceSteps;
    return index > steps * start && index < steps * stop;
  }

  async *#call(executor: Executor, text: SD3Text, latents: FloatTensor, timestep: number): AsyncGenerator<PipelineEvent, FloatTensor> {
    const call = { executor, model: this.#model, phase: "denoise", outputs: ["sample"], signal: this.#request.signal } as const;
    const { sample } = yield* callModel(call, { ...sd3ConstantInputs(text), ...sd3StepInputs(latents, [timestep]) });
    return sample;
  }
}
