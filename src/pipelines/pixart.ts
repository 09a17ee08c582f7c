/**
 * PixArt-Σ's pipeline: T5 reads the prompt, the transformer denoises, guided by the negative prompt.
 *
 * Source: diffusers pipelines/pixart_alpha/pipeline_pixart_sigma.py@0.42.1; differs: sizes are taken as given unless binning is asked for, and
 * prompt and negative prompt are encoded in one call, with the same result.
 */

import { UnsupportedError, UsageError } from "../errors.ts";
import { type AutoencoderKLConfig, AutoencoderKLConfigSchema, vaeScaleFactor } from "../models/autoencoder-kl/config.ts";
import { type PixArtConfig, PixArtConfigSchema, usesAdditionalConditions } from "../models/pixart/config.ts";
import { type PixArtCaption, pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../models/pixart/model.ts";
import { modelConfig } from "../models/registry.ts";
import { T5ConfigSchema } from "../models/t5/config.ts";
import { t5Encoder, t5Inputs } from "../models/t5/model.ts";
import { Executor } from "../runtime/executor.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { PipelineEvent } from "./events.ts";
import { firstChannels, guide } from "./guidance.ts";
import { callModel } from "./model-call.ts";
import { modelOf, type PipelineParts, tokenizerOf } from "./parts.ts";
import type { Denoiser, PipelineClass, WorkSize } from "./pipeline-class.ts";
import { type PromptTokens, prepareCaption, tokenizePrompt } from "./prompt.ts";
import type { Request } from "./request.ts";
import { nearestTrainedSize } from "./resolution-binning.ts";

/** Prompt embeddings of the whole batch, the negative prompt's first when guided. */
type Conditioning = PixArtCaption;

/** PixArtSigmaPipeline. */
export const pixArtSigma: PipelineClass<Conditioning> = {
  className: "PixArtSigmaPipeline",
  models: ["text_encoder", "transformer", "vae"],
  tokenizers: ["tokenizer"],
  modelClasses: { text_encoder: "T5EncoderModel", transformer: "PixArtTransformer2DModel", vae: "AutoencoderKL" },

  defaults(parts) {
    const transformer = transformerConfig(modelOf(parts, "transformer"));
    const factor = vaeScaleFactor(vaeConfig(parts));
    return {
      numInferenceSteps: 20,
      guidanceScale: 4.5,
      maxSequenceLength: 300,
      size: transformer.sample_size * factor,
      sizeMultiple: factor * transformer.patch_size,
      maxSteps: parts.scheduler.numTrainTimesteps,
    };
  },

  workSize(parts, request) {
    const { sample_size } = transformerConfig(modelOf(parts, "transformer"));
    const { height, width } = request.useResolutionBinning ? nearestTrainedSize(sample_size, request) : request;
    const factor = vaeScaleFactor(vaeConfig(parts));
    return { height, width, latentHeight: height / factor, latentWidth: width / factor };
  },

  minimumActivationBytes(parts, request, size) {
    const config = transformerConfig(modelOf(parts, "transformer"));
    const batch = request.numImagesPerPrompt * (request.guided ? 2 : 1);
    const patches = (size.latentHeight * size.latentWidth) / config.patch_size ** 2;
    const width = config.num_attention_heads * config.attention_head_dim;
    const tokens = request.maxSequenceLength;
    // Hidden states, queries, keys, values and the rows of a feed-forward; the caption, its projection, keys and values; scores of the caption.
    const perPicture =
      patches * width * 8 + tokens * ((config.caption_channels ?? width) + 3 * width) + config.num_attention_heads * patches * tokens;
    return 4 * batch * perPicture;
  },

  // diffusers' PixArt pipelines pass over a VAE's shift_factor.
  latentShift: () => 0,

  latentChannels: (parts) => transformerConfig(modelOf(parts, "transformer")).in_channels,

  checkParts(parts) {
    const transformer = transformerConfig(modelOf(parts, "transformer"));
    const encoder = t5Config(modelOf(parts, "text_encoder"));
    const vae = vaeConfig(parts);
    if (usesAdditionalConditions(transformer)) {
      throw new UnsupportedError(
        "the transformer takes resolution and aspect ratio (use_additional_conditions), which PixArtSigmaPipeline does not give",
        {
          where: modelOf(parts, "transformer").configPath,
        },
      );
    }
    const expected = transformer.caption_channels ?? transformer.cross_attention_dim;
    if (encoder.d_model !== expected) {
      throw new UsageError(`the text_encoder gives vectors of ${encoder.d_model} numbers, but the transformer expects ${expected}`);
    }
    const { size } = tokenizerOf(parts, "tokenizer");
    if (size > encoder.vocab_size) {
      throw new UsageError(`the tokenizer has ${size} tokens, but the text_encoder knows ${encoder.vocab_size}`);
    }
    if (vae.latent_channels !== transformer.in_channels) {
      throw new UsageError(`the vae has ${vae.latent_channels} latent channels, but the transformer expects ${transformer.in_channels}`);
    }
  },

  async *encode(parts, request) {
    const tokenizer = tokenizerOf(parts, "tokenizer");
    const texts = request.guided ? [request.negativePrompt, request.prompt] : [request.prompt];
    const tokens: PromptTokens[] = [];
    for (const [i, text] of texts.entries()) {
      const what = request.guided && i === 0 ? "negative prompt" : "prompt";
      const found = tokenizePrompt(tokenizer, prepareCaption(text), request.maxSequenceLength);
      if (found.cutText !== undefined) {
        const message = `the ${what} is longer than the ${request.maxSequenceLength} tokens that the model sees; cut off: "${found.cutText}"`;
        yield { type: "warning", message };
      }
      tokens.push(found);
    }
    const hidden = yield* encodeTokens(parts, request, tokens);
    return repeatForImages(hidden, tokens, request.numImagesPerPrompt);
  },

  denoiser(parts, request, size, conditioning) {
    return new PixArtDenoiser(parts, request, size, conditioning);
  },
};

async function* encodeTokens(
  parts: PipelineParts,
  request: Request,
  tokens: readonly PromptTokens[],
): AsyncGenerator<PipelineEvent, FloatTensor> {
  const model = modelOf(parts, "text_encoder");
  const config = t5Config(model);
  const size = { batch: tokens.length, tokens: request.maxSequenceLength };
  const executor = new Executor(parts.runtime, t5Encoder(model.weights(), config, model.dtype, size));
  try {
    const inputs = t5Inputs(
      config,
      tokens.map(({ ids }) => ids),
      tokens.map(({ mask }) => mask),
    );
    return yield* callModel({ executor, model, phase: "encode", output: "hidden", signal: request.signal }, inputs);
  } finally {
    await executor.dispose();
  }
}

/** Each prompt's embedding once for every picture: [texts, tokens, width] -> [texts * images, tokens, width]. */
function repeatForImages(hidden: FloatTensor, tokens: readonly PromptTokens[], images: number): Conditioning {
  const [texts = 0, ...rest] = hidden.shape;
  const perText = hidden.data.length / texts;
  const result = floatTensor([texts * images, ...rest]);
  for (let i = 0; i < texts * images; i++) {
    const text = Math.floor(i / images);
    result.data.set(hidden.data.subarray(text * perText, (text + 1) * perText), i * perText);
  }
  return { encoderHiddenStates: result, attentionMask: tokens.flatMap(({ mask }) => Array<readonly number[]>(images).fill(mask)) };
}

class PixArtDenoiser implements Denoiser {
  readonly #executor: Executor;
  readonly #model: DiffusionModel;
  readonly #config: PixArtConfig;
  readonly #request: Request;
  readonly #constant: ReturnType<typeof pixArtConstantInputs>;

  constructor(parts: PipelineParts, request: Request, size: WorkSize, caption: Conditioning) {
    this.#model = modelOf(parts, "transformer");
    this.#config = transformerConfig(this.#model);
    this.#request = request;
    const batch = caption.attentionMask.length;
    const modelSize = {
      batch,
      latentHeight: size.latentHeight,
      latentWidth: size.latentWidth,
      captionTokens: request.maxSequenceLength,
      timesteps: 1,
    };
    this.#executor = new Executor(parts.runtime, pixArtTransformer(this.#model.weights(), this.#config, this.#model.dtype, modelSize));
    this.#constant = pixArtConstantInputs(this.#config, modelSize, caption);
  }

  async *predict(latents: FloatTensor, timestep: number): AsyncGenerator<PipelineEvent, Float32Array> {
    const { guided, guidanceScale, signal } = this.#request;
    const call = { executor: this.#executor, model: this.#model, phase: "denoise", output: "sample", signal } as const;
    const inputs = { ...this.#constant, ...pixArtStepInputs(guided ? doubled(latents) : latents, [timestep]) };
    const { data } = yield* callModel(call, inputs);
    const noise = guided ? guide(data, guidanceScale) : data;
    const [images = 0, channels = 0] = latents.shape;
    const all = this.#config.out_channels ?? this.#config.in_channels;
    // As diffusers decides: only an output of exactly twice the latents' channels holds a variance.
    return all === 2 * channels ? firstChannels(noise, images, all, channels) : noise;
  }

  async dispose(): Promise<void> {
    await this.#executor.dispose();
  }
}

function doubled(latents: FloatTensor): FloatTensor {
  const [images = 0, ...rest] = latents.shape;
  const result = floatTensor([2 * images, ...rest]);
  result.data.set(latents.data);
  result.data.set(latents.data, latents.data.length);
  return result;
}

function transformerConfig(model: DiffusionModel): PixArtConfig {
  return modelConfig(PixArtConfigSchema, model.config, model.part, model.configPath);
}

function t5Config(model: DiffusionModel) {
  return modelConfig(T5ConfigSchema, model.config, model.part, model.configPath);
}

function vaeConfig(parts: PipelineParts): AutoencoderKLConfig {
  const model = modelOf(parts, "vae");
  return modelConfig(AutoencoderKLConfigSchema, model.config, model.part, model.configPath);
}
