/**
 * PixArt's pipelines: T5 reads the prompt, the transformer denoises, guided by the negative prompt. α and Σ differ in how many tokens they
 * read, in whether the transformer is told the picture's size, and in the sizes they know.
 *
 * Source: diffusers pipelines/pixart_alpha/pipeline_pixart_alpha.py and pipeline_pixart_sigma.py@0.42.1; differs: sizes are taken as given
 * unless binning is asked for; prompt and negative prompt are encoded in one call, with the same result; a run of one step takes it
 * as any other (diffusers' α takes the predicted picture, which is the same but for DDIM without set_alpha_to_one, and fails with DPM-Solver);
 * α's size conditions follow the transformer's config alone (diffusers gives none unless sample_size is 128, and then fails where they are needed).
 */

import { UnsupportedError } from "../errors.ts";
import type { ModelGraph } from "../graph/segment.ts";
import { vaeScaleFactor } from "../models/autoencoder-kl/config.ts";
import { type PixArtConfig, PixArtConfigSchema, usesAdditionalConditions } from "../models/pixart/config.ts";
import { type PixArtCaption, type PixArtSize, pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../models/pixart/model.ts";
import { T5ConfigSchema } from "../models/t5/config.ts";
import { Executor } from "../runtime/executor.ts";
import { DIFFUSION_SCHEDULERS } from "../schedulers/registry.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import { batchPieces, doubled, joinBatch, repeatEach } from "./batch.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import { encodeWithT5, t5Graph, t5SizeOf } from "./encode-t5.ts";
import type { PipelineEvent } from "./events.ts";
import { callsOfStep, firstChannels, guide } from "./guidance.ts";
import { callModel } from "./model-call.ts";
import { checkLatentChannels, checkTextWidth, checkVocabulary, partConfig, vaeConfig, withLatentSize } from "./part-configs.ts";
import { modelOf, type PipelineParts, tokenizerOf } from "./parts.ts";
import type { Denoiser, PipelineClass, WorkSize } from "./pipeline-class.ts";
import { guidedTexts, type NamedText, prepareCaption, textLengths, tokenizeTexts } from "./prompt.ts";
import type { Request, RequestDefaults } from "./request.ts";
import { nearestTrainedSize } from "./resolution-binning.ts";

/** Prompt embeddings of the whole batch, the negative prompt's first when guided. */
type Conditioning = PixArtCaption;

/** What one PixArt pipeline has and the other has not. */
interface PixArtVariant {
  readonly className: string;
  readonly maxSequenceLength: number;
  /** Whether it tells a transformer that asks for them the picture's resolution and aspect ratio. */
  readonly givesSize: boolean;
  /** Sizes of latents that it has a table of trained sizes for. */
  readonly binnedSampleSizes: readonly number[];
}

function pixArtPipeline(variant: PixArtVariant): PipelineClass<Conditioning> {
  return {
    className: variant.className,
    ...shared,
    defaults: (parts) => defaults(parts, variant),
    workSize: (parts, request) => workSize(parts, request, variant),
    checkParts: (parts) => checkParts(parts, variant),
  };
}

/** What both have. */
const shared = {
  models: {
    text_encoder: { className: "T5EncoderModel" },
    transformer: { className: "PixArtTransformer2DModel" },
    vae: { className: "AutoencoderKL" },
  },
  tokenizers: { tokenizer: "text_encoder" },
  schedulers: DIFFUSION_SCHEDULERS,
  options: ["useResolutionBinning"],

  minimumActivationBytes(parts, request, size) {
    const config = transformerConfig(parts);
    const patches = (size.latentHeight * size.latentWidth) / config.patch_size ** 2;
    const width = config.num_attention_heads * config.attention_head_dim;
    const tokens = request.textTokens;
    // Guided in two calls: hidden states, their norm, queries, keys and values; the caption, its projection, keys and values.
    const perPicture = patches * width * 5 + tokens * ((config.caption_channels ?? width) + 3 * width);
    return 4 * request.numImagesPerPrompt * perPicture;
  },

  // diffusers' PixArt pipelines pass over a VAE's shift_factor.
  latentShift: () => 0,

  latentChannels: (parts) => transformerConfig(parts).in_channels,

  canSplitGuidance: true,

  // Padding is masked in the encoder and in the transformer, where -10000 on its scores leaves it a share of exactly 0.
  textLengths: (parts, request) => textLengths(tokenizerOf(parts, "tokenizer"), captions(request), request.maxSequenceLength),

  workload(parts, request, size, guidance) {
    const batch = (request.textLengths.length * request.numImagesPerPrompt) / callsOfStep(request.guided, guidance);
    return {
      encode: [["text_encoder", t5Graph(parts, "text_encoder", t5SizeOf(request.textLengths))]],
      denoise: [["transformer", transformerGraph(parts, modelSize(request, size, batch))]],
    };
  },

  async *encode(parts, request) {
    const { textTokens, numImagesPerPrompt: images } = request;
    const tokens = yield* tokenizeTexts(tokenizerOf(parts, "tokenizer"), captions(request), textTokens);
    const hidden = yield* encodeWithT5(parts, "text_encoder", tokens, request.signal);
    return {
      encoderHiddenStates: repeatEach(hidden, images),
      attentionMask: tokens.flatMap(({ mask }) => Array<readonly number[]>(images).fill(mask)),
    };
  },

  denoiser(parts, request, size, conditioning) {
    return new PixArtDenoiser(parts, request, size, conditioning);
  },
} satisfies Partial<PipelineClass<Conditioning>>;

/** PixArtAlphaPipeline. */
export const pixArtAlpha: PipelineClass<Conditioning> = pixArtPipeline({
  className: "PixArtAlphaPipeline",
  maxSequenceLength: 120,
  givesSize: true,
  binnedSampleSizes: [32, 64, 128],
});

/** PixArtSigmaPipeline. */
export const pixArtSigma: PipelineClass<Conditioning> = pixArtPipeline({
  className: "PixArtSigmaPipeline",
  maxSequenceLength: 300,
  givesSize: false,
  binnedSampleSizes: [32, 64, 128, 256],
});

function captions({ guided, prompt, negativePrompt }: Request): readonly NamedText[] {
  const positive = { name: "prompt", text: prepareCaption(prompt) };
  return guidedTexts(guided, { name: "negative prompt", text: prepareCaption(negativePrompt) }, positive);
}

function defaults(parts: PipelineParts, { maxSequenceLength }: PixArtVariant): RequestDefaults {
  const transformer = transformerConfig(parts);
  const factor = vaeScaleFactor(vaeConfig(parts));
  return {
    numInferenceSteps: 20,
    guidanceScale: 4.5,
    maxSequenceLength,
    size: transformer.sample_size * factor,
    sizeMultiple: factor * transformer.patch_size,
    maxSteps: parts.scheduler.numTrainTimesteps,
  };
}

function workSize(parts: PipelineParts, request: Request, { binnedSampleSizes }: PixArtVariant): WorkSize {
  if (!request.useResolutionBinning) return withLatentSize(parts, request);
  return withLatentSize(parts, nearestTrainedSize(transformerConfig(parts).sample_size, binnedSampleSizes, request));
}

function checkParts(parts: PipelineParts, { className, givesSize }: PixArtVariant): void {
  const transformer = transformerConfig(parts);
  const encoder = partConfig(parts, "text_encoder", T5ConfigSchema);
  if (usesAdditionalConditions(transformer) && !givesSize) {
    throw new UnsupportedError(
      `the transformer takes resolution and aspect ratio (use_additional_conditions), which ${className} does not give`,
      {
        where: modelOf(parts, "transformer").configPath,
      },
    );
  }
  checkTextWidth("text_encoder", encoder.d_model, transformer.caption_channels ?? transformer.cross_attention_dim);
  checkVocabulary(parts, "tokenizer", "text_encoder", encoder.vocab_size);
  checkLatentChannels(parts, transformer.in_channels);
}

/** What a transformer with size conditions is told of every picture of a batch. */
function sizeConditions({ height, width }: WorkSize, batch: number): NonNullable<PixArtCaption["conditions"]> {
  const each = Array.from({ length: batch });
  return { resolution: each.flatMap(() => [height, width]), aspectRatio: each.map(() => height / width) };
}

function modelSize(request: Request, size: WorkSize, batch: number): PixArtSize {
  const { latentHeight, latentWidth } = size;
  return { batch, latentHeight, latentWidth, captionTokens: request.textTokens, timesteps: 1 };
}

function transformerGraph(parts: PipelineParts, size: PixArtSize): ModelGraph {
  const model = modelOf(parts, "transformer");
  return pixArtTransformer(model.weights(parts.integerProducts), transformerConfig(parts), model.dtype, size);
}

class PixArtDenoiser implements Denoiser {
  readonly #executor: Executor;
  readonly #model: DiffusionModel;
  readonly #config: PixArtConfig;
  readonly #request: Request;
  /** What each call of a step takes beside the latents: one for the whole batch, or one for each half of it. */
  readonly #constants: readonly ReturnType<typeof pixArtConstantInputs>[];

  constructor(parts: PipelineParts, request: Request, size: WorkSize, caption: Conditioning) {
    this.#model = modelOf(parts, "transformer");
    this.#config = transformerConfig(parts);
    this.#request = request;
    const pieces = callsOfStep(request.guided, parts.guidance);
    const batch = caption.attentionMask.length / pieces;
    const callSize = modelSize(request, size, batch);
    this.#executor = new Executor(parts.runtime, transformerGraph(parts, callSize));
    const conditions = usesAdditionalConditions(this.#config) ? { conditions: sizeConditions(size, batch) } : {};
    this.#constants = batchPieces(caption.encoderHiddenStates, pieces).map((encoderHiddenStates, i) => {
      const attentionMask = caption.attentionMask.slice(i * batch, (i + 1) * batch);
      return pixArtConstantInputs(this.#config, callSize, { encoderHiddenStates, attentionMask, ...conditions });
    });
  }

  async *predict(latents: FloatTensor, timestep: number): AsyncGenerator<PipelineEvent, Float32Array> {
    const { guided, guidanceScale, signal } = this.#request;
    const call = { executor: this.#executor, model: this.#model, phase: "denoise", outputs: ["sample"], signal } as const;
    const isDoubled = guided && this.#constants.length === 1;
    const step = pixArtStepInputs(isDoubled ? doubled(latents) : latents, [timestep]);
    const samples: FloatTensor[] = [];
    for (const constant of this.#constants) samples.push((yield* callModel(call, { ...constant, ...step })).sample);
    const prediction = joinBatch(samples);
    const noise = guided ? guide(prediction, guidanceScale) : prediction;
    const [images = 0, channels = 0] = latents.shape;
    const all = this.#config.out_channels ?? this.#config.in_channels;
    // As diffusers decides: only an output of exactly twice the latents' channels holds a variance.
    return all === 2 * channels ? firstChannels(noise, images, all, channels) : noise;
  }

  async dispose(): Promise<void> {
    await this.#executor.dispose();
  }
}

function transformerConfig(parts: PipelineParts): PixArtConfig {
  return partConfig(parts, "transformer", PixArtConfigSchema);
}
