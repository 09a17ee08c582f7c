/**
 * AuraFlow: UMT5 reads the prompt, the transformer follows the flow from noise to picture, guided by the negative prompt. The transformer gets
 * no mask: what the encoder says of padding is set to 0 instead.
 *
 * Source: diffusers pipelines/aura_flow/pipeline_aura_flow.py@0.42.1; differs: prompt and negative prompt are encoded in one call, with the
 * same result; no more than 256 tokens are read.
 */
import { UnsupportedError } from "../errors.ts";
import type { ModelGraph } from "../graph/segment.ts";
import { type AuraFlowConfig, AuraFlowConfigSchema, innerWidth } from "../models/auraflow/config.ts";
import {
  type AuraFlowSize,
  auraFlowConstantInputs,
  auraFlowStepInputs,
  auraFlowTransformer,
  checkAuraFlowSize,
} from "../models/auraflow/model.ts";
import { vaeScaleFactor } from "../models/autoencoder-kl/config.ts";
import { UMT5ConfigSchema } from "../models/t5/config.ts";
import { Executor } from "../runtime/executor.ts";
import { FLOW_MATCHING_SCHEDULERS } from "../schedulers/registry.ts";
import { type FloatTensor, floatTensor, type Tensor } from "../tensor/tensor.ts";
import { batchPieces, doubled, joinBatch, repeatEach } from "./batch.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import { encodeWithT5, t5Graph, t5SizeOf } from "./encode-t5.ts";
import type { PipelineEvent } from "./events.ts";
import { callsOfStep, guide } from "./guidance.ts";
import { callModel } from "./model-call.ts";
import { checkLatentChannels, checkTextWidth, checkVocabulary, partConfig, vaeConfig, withLatentSize } from "./part-configs.ts";
import { modelOf, type PipelineParts, tokenizerOf } from "./parts.ts";
import type { Denoiser, PipelineClass, WorkSize } from "./pipeline-class.ts";
import { guidedTexts, type NamedText, type PromptTokens, textLengths, tokenizeTexts } from "./prompt.ts";
import type { Request } from "./request.ts";

/** The scheduler counts timesteps from 0 to 1000, the transformer from 0 to 1. */
const TIMESTEPS = 1000;

/** AuraFlowPipeline; conditioned on the text of the whole batch, the negative prompt's first when guided. */
export const auraFlow: PipelineClass<FloatTensor> = {
  className: "AuraFlowPipeline",
  models: {
    text_encoder: { className: "UMT5EncoderModel" },
    transformer: { className: "AuraFlowTransformer2DModel" },
    vae: { className: "AutoencoderKL" },
  },
  tokenizers: { tokenizer: "text_encoder" },
  schedulers: FLOW_MATCHING_SCHEDULERS,
  options: [],

  defaults: (parts) => ({
    numInferenceSteps: 50,
    guidanceScale: 3.5,
    maxSequenceLength: 256,
    // Not the transformer's sample_size, which says 64 of a model for pictures of 1024 pixels.
    size: 1024,
    sizeMultiple: vaeScaleFactor(vaeConfig(parts)) * transformerConfig(parts).patch_size,
    maxSteps: parts.scheduler.numTrainTimesteps,
  }),

  workSize: withLatentSize,

  minimumActivationBytes(parts, request, size) {
    const config = transformerConfig(parts);
    const patches = (size.latentHeight * size.latentWidth) / config.patch_size ** 2;
    const tokens = request.maxSequenceLength;
    // Guided in two calls: hidden states, their norm, queries, keys and values, of both sequences; the text as it comes.
    const perPicture = (patches + tokens) * innerWidth(config) * 5 + tokens * config.joint_attention_dim;
    return 4 * request.numImagesPerPrompt * perPicture;
  },

  // diffusers' AuraFlow passes over a VAE's shift_factor.
  latentShift: () => 0,

  latentChannels: (parts) => transformerConfig(parts).in_channels,

  checkParts(parts) {
    const { joint_attention_dim, in_channels, out_channels } = transformerConfig(parts);
    const encoder = partConfig(parts, "text_encoder", UMT5ConfigSchema);
    checkTextWidth("text_encoder", encoder.d_model, joint_attention_dim);
    checkVocabulary(parts, "tokenizer", "text_encoder", encoder.vocab_size);
    checkLatentChannels(parts, in_channels);
    if (out_channels === in_channels) return;
    throw new UnsupportedError(`the transformer predicts ${out_channels} channels, but its latents have ${in_channels}`, {
      where: modelOf(parts, "transformer").configPath,
    });
  },

  checkRequest(parts, request) {
    checkAuraFlowSize(transformerConfig(parts), withLatentSize(parts, request));
  },

  canSplitGuidance: true,

  // Padding is masked in the encoder, and zeros stand for it in the transformer.
  textLengths: (parts, request) => textLengths(tokenizerOf(parts, "tokenizer"), textsOf(request), request.maxSequenceLength),

  workload(parts, request, size, guidance) {
    const batch = (request.textLengths.length * request.numImagesPerPrompt) / callsOfStep(request.guided, guidance);
    return {
      encode: [["text_encoder", t5Graph(parts, "text_encoder", t5SizeOf(request.textLengths))]],
      denoise: [["transformer", transformerGraph(parts, callSize(size, [batch, request.maxSequenceLength]))]],
    };
  },

  async *encode(parts, request) {
    const tokenizer = tokenizerOf(parts, "tokenizer");
    const tokens = yield* tokenizeTexts(tokenizer, textsOf(request), request.textTokens);
    const hidden = yield* encodeWithT5(parts, "text_encoder", tokens, request.signal);
    return repeatEach(zeroPadded(hidden, tokens, request.maxSequenceLength, tokenizer.paddingSide), request.numImagesPerPrompt);
  },

  denoiser(parts, request, size, text) {
    return new AuraFlowDenoiser(parts, request, size, text);
  },
};

function textsOf({ guided, prompt, negativePrompt }: Request): readonly NamedText[] {
  return guidedTexts(guided, { name: "negative prompt", text: negativePrompt }, { name: "prompt", text: prompt });
}

/** Zeros in place of padding, and so many more that a text has `length` tokens: [texts, tokens, width] -> [texts, length, width]. */
function zeroPadded(
  { shape, data }: FloatTensor,
  tokens: readonly PromptTokens[],
  length: number,
  side: "left" | "right" = "right",
): FloatTensor {
  const [texts, encoded, width] = shape as [number, number, number];
  const padded = floatTensor([texts, length, width]);
  const first = side === "left" ? length - encoded : 0;
  for (const [text, { mask }] of tokens.entries()) {
    for (const [token, isText] of mask.entries()) {
      if (isText === 0) continue;
      const from = (text * encoded + token) * width;
      padded.data.set(data.subarray(from, from + width), (text * length + first + token) * width);
    }
  }
  return padded;
}

/** The size of a call for a text [batch, tokens, …]. */
function callSize({ latentHeight, latentWidth }: WorkSize, [batch = 0, textTokens = 0]: readonly number[]): AuraFlowSize {
  return { batch, latentHeight, latentWidth, textTokens, timesteps: 1 };
}

function transformerGraph(parts: PipelineParts, size: AuraFlowSize): ModelGraph {
  const model = modelOf(parts, "transformer");
  return auraFlowTransformer(model.weights(parts.integerProducts), transformerConfig(parts), model.dtype, size);
}

class AuraFlowDenoiser implements Denoiser {
  readonly #executor: Executor;
  readonly #model: DiffusionModel;
  readonly #request: Request;
  /** What each call of a step takes beside the latents. */
  readonly #constants: readonly Record<string, Tensor>[];

  constructor(parts: PipelineParts, request: Request, size: WorkSize, text: FloatTensor) {
    const texts = batchPieces(text, callsOfStep(request.guided, parts.guidance));
    const ofCall = callSize(size, texts[0]?.shape ?? []);
    this.#model = modelOf(parts, "transformer");
    this.#request = request;
    this.#executor = new Executor(parts.runtime, transformerGraph(parts, ofCall));
    this.#constants = texts.map((piece) => auraFlowConstantInputs(transformerConfig(parts), ofCall, piece));
  }

  async *predict(latents: FloatTensor, timestep: number): AsyncGenerator<PipelineEvent, Float32Array> {
    const { guided, guidanceScale, signal } = this.#request;
    const call = { executor: this.#executor, model: this.#model, phase: "denoise", outputs: ["sample"], signal } as const;
    const time = Math.fround(timestep / TIMESTEPS);
    const isDoubled = guided && this.#constants.length === 1;
    const step = auraFlowStepInputs(isDoubled ? doubled(latents) : latents, [time]);
    const samples: FloatTensor[] = [];
    for (const constant of this.#constants) samples.push((yield* callModel(call, { ...constant, ...step })).sample);
    const prediction = joinBatch(samples);
    return guided ? guide(prediction, guidanceScale) : prediction;
  }

  async dispose(): Promise<void> {
    await this.#executor.dispose();
  }
}

function transformerConfig(parts: PipelineParts): AuraFlowConfig {
  return partConfig(parts, "transformer", AuraFlowConfigSchema);
}
