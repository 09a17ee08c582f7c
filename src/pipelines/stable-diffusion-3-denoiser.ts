/**
 * Predicts Stable Diffusion 3's flow: one call for negative prompt and prompt, and in the steps of skip-layer guidance one more, of the prompt
 * alone through a transformer without the skipped blocks.
 *
 * Source: diffusers pipelines/stable_diffusion_3/pipeline_stable_diffusion_3.py@0.42.1, denoising loop.
 */
import type { SkipLayerGuidance } from "../image/recipe.ts";
import type { SD3Config } from "../models/sd3/config.ts";
import { type SD3Text, sd3ConstantInputs, sd3StepInputs, sd3Transformer } from "../models/sd3/model.ts";
import { Executor } from "../runtime/executor.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import { doubled, secondHalf } from "./batch.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { PipelineEvent } from "./events.ts";
import { guide, guideFromSkipped } from "./guidance.ts";
import { callModel } from "./model-call.ts";
import type { Denoiser, WorkSize } from "./pipeline-class.ts";
import type { Request } from "./request.ts";

/** Belongs to one request. */
export class SD3Denoiser implements Denoiser {
  readonly #model: DiffusionModel;
  readonly #request: Request;
  readonly #text: SD3Text;
  readonly #executor: Executor;
  readonly #open: (text: SD3Text, skipLayers?: readonly number[]) => Executor;
  /** Opened by the first step that needs it. */
  #skipping: Executor | undefined;

  constructor(runtime: Runtime, model: DiffusionModel, config: SD3Config, request: Request, size: WorkSize, text: SD3Text) {
    this.#model = model;
    this.#request = request;
    this.#text = text;
    this.#open = ({ encoderHiddenStates }, skipLayers = []) => {
      const [batch = 0, textTokens = 0] = encoderHiddenStates.shape;
      const { latentHeight, latentWidth } = size;
      const whole = { batch, latentHeight, latentWidth, textTokens, timesteps: 1, skipLayers };
      return new Executor(runtime, sd3Transformer(model.weights(), config, model.dtype, whole));
    };
    this.#executor = this.#open(text);
  }

  async *predict(latents: FloatTensor, timestep: number, index: number): AsyncGenerator<PipelineEvent, Float32Array> {
    const { guided, guidanceScale, skipLayerGuidance: skip } = this.#request;
    if (!guided) return (yield* this.#call(this.#executor, this.#text, latents, timestep)).data;
    const both = yield* this.#call(this.#executor, this.#text, doubled(latents), timestep);
    const prediction = guide(both.data, guidanceScale);
    if (skip === undefined || !this.#skipsAt(index, skip)) return prediction;
    const text = {
      encoderHiddenStates: secondHalf(this.#text.encoderHiddenStates),
      pooledProjections: secondHalf(this.#text.pooledProjections),
    };
    this.#skipping ??= this.#open(text, skip.layers);
    const skipped = yield* this.#call(this.#skipping, text, latents, timestep);
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
