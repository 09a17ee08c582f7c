/**
 * Stable Diffusion 3 and 3.5: two CLIPs and T5, which may be left out, read the prompt; the transformer follows the flow from noise to picture,
 * guided by the negative prompt and, if asked, away from what it predicts without some of its layers.
 *
 * Source: diffusers pipelines/stable_diffusion_3/pipeline_stable_diffusion_3.py@0.42.1; differs: no IP-Adapter.
 */
import { UnsupportedError, UsageError } from "../errors.ts";
import { vaeScaleFactor } from "../models/autoencoder-kl/config.ts";
import { type ClipTextConfig, ClipTextConfigSchema } from "../models/clip/config.ts";
import { type SD3Config, SD3ConfigSchema } from "../models/sd3/config.ts";
import { checkSD3Size, type SD3Text } from "../models/sd3/model.ts";
import { T5ConfigSchema } from "../models/t5/config.ts";
import { FLOW_MATCHING_SCHEDULERS } from "../schedulers/registry.ts";
import { repeatEach } from "./batch.ts";
import { clipGraph } from "./encode-clip.ts";
import { t5Graph } from "./encode-t5.ts";
import { callsOfStep } from "./guidance.ts";
import { checkLatentChannels, checkTextWidth, checkVocabulary, partConfig, vaeConfig, withLatentSize } from "./part-configs.ts";
import { modelOf, optionalModelOf, type PipelineParts, tokenizerOf } from "./parts.ts";
import type { PipelineClass } from "./pipeline-class.ts";
import type { Request } from "./request.ts";
import { SD3Denoiser, sd3Graph } from "./stable-diffusion-3-denoiser.ts";
import { encodeTexts } from "./stable-diffusion-3-text.ts";

/** The two that every request needs. */
const CLIPS = ["text_encoder", "text_encoder_2"] as const;
const T5 = "text_encoder_3";

/** StableDiffusion3Pipeline; conditioned on the text of the whole batch, the negative prompt's first when guided. */
export const stableDiffusion3: PipelineClass<SD3Text> = {
  className: "StableDiffusion3Pipeline",
  models: {
    text_encoder: { className: "CLIPTextModelWithProjection" },
    text_encoder_2: { className: "CLIPTextModelWithProjection" },
    text_encoder_3: { className: "T5EncoderModel", isOptional: true },
    transformer: { className: "SD3Transformer2DModel" },
    vae: { className: "AutoencoderKL" },
  },
  tokenizers: { tokenizer: "text_encoder", tokenizer_2: "text_encoder_2", tokenizer_3: T5 },
  schedulers: FLOW_MATCHING_SCHEDULERS,
  options: [
    "prompt2",
    "prompt3",
    "negativePrompt2",
    "negativePrompt3",
    "clipSkip",
    "skipGuidanceLayers",
    "skipLayerGuidanceScale",
    "skipLayerGuidanceStart",
    "skipLayerGuidanceStop",
  ],

  defaults(parts) {
    const { sample_size, patch_size } = transformerConfig(parts);
    const factor = vaeScaleFactor(vaeConfig(parts));
    return {
      numInferenceSteps: 28,
      guidanceScale: 7,
      maxSequenceLength: 256,
      longestSequence: 512,
      size: sample_size * factor,
      sizeMultiple: factor * patch_size,
      maxSteps: parts.scheduler.numTrainTimesteps,
    };
  },

  workSize: withLatentSize,

  minimumActivationBytes(parts, request, size) {
    const { patch_size, num_attention_heads, attention_head_dim, joint_attention_dim } = transformerConfig(parts);
    const width = num_attention_heads * attention_head_dim;
    const patches = (size.latentHeight * size.latentWidth) / patch_size ** 2;
    const tokens = clipTokens(parts) + request.maxSequenceLength;
    // Guided in two calls: hidden states, their norm, queries, keys and values, of both sequences; the text as it comes.
    return 4 * request.numImagesPerPrompt * ((patches + tokens) * width * 5 + tokens * joint_attention_dim);
  },

  latentShift: (parts) => vaeConfig(parts).shift_factor ?? 0,

  latentChannels: (parts) => transformerConfig(parts).in_channels,

  checkParts(parts) {
    const { joint_attention_dim: width, pooled_projection_dim, in_channels, out_channels } = transformerConfig(parts);
    const [first, second] = CLIPS.map((name) => clipConfig(parts, name)) as [ClipTextConfig, ClipTextConfig];
    checkVocabulary(parts, "tokenizer", "text_encoder", first.vocab_size);
    checkVocabulary(parts, "tokenizer_2", "text_encoder_2", second.vocab_size);
    checkTextWidth("text_encoder and text_encoder_2 together", first.projection_dim + second.projection_dim, pooled_projection_dim);
    const features = first.hidden_size + second.hidden_size;
    if (features > width) {
      throw new UsageError(
        `text_encoder and text_encoder_2 give ${features} features of a token, but the transformer expects at most ${width}`,
      );
    }
    if (optionalModelOf(parts, T5) !== undefined) {
      const third = partConfig(parts, T5, T5ConfigSchema);
      checkTextWidth(T5, third.d_model, width);
      checkVocabulary(parts, "tokenizer_3", T5, third.vocab_size);
    }
    checkLatentChannels(parts, in_channels);
    if ((out_channels ?? in_channels) === in_channels) return;
    throw new UnsupportedError(`the transformer predicts ${out_channels} channels, but its latents have ${in_channels}`, {
      where: modelOf(parts, "transformer").configPath,
    });
  },

  checkRequest(parts, request) {
    const transformer = transformerConfig(parts);
    checkSD3Size(transformer, withLatentSize(parts, request));
    const layers = Math.min(...CLIPS.map((name) => clipConfig(parts, name).num_hidden_layers));
    if (request.clipSkip >= layers) {
      throw new UsageError(`clipSkip must be less than the ${layers} layers of the CLIP text encoders, got ${request.clipSkip}`);
    }
    const beyond = request.skipLayerGuidance?.layers.find((layer) => layer >= transformer.num_layers);
    if (beyond === undefined) return;
    throw new UsageError(`skipGuidanceLayers must be blocks from 0 to ${transformer.num_layers - 1}, got ${beyond}`);
  },

  warnings(parts, request) {
    const second = optionalModelOf(parts, "text_encoder_2");
    const isQuantized = second !== undefined && second.marks.size + second.qtypes.size > 0;
    return [
      ...(isQuantized ? [SECOND_QUANTIZED] : []),
      ...(readsNothing(parts, request) ? ["prompt3 and negativePrompt3 have no effect: the pipeline has no text_encoder_3"] : []),
      ...(request.skipLayerGuidance !== undefined && !request.guided ? ["skipGuidanceLayers has no effect without guidance"] : []),
    ];
  },

  startOptions(parts, _request, size) {
    const { config } = parts.scheduler;
    if (config.use_dynamic_shifting !== true) return {};
    const { patch_size } = transformerConfig(parts);
    return { mu: shiftFor(config, Math.floor(size.latentHeight / patch_size) * Math.floor(size.latentWidth / patch_size)) };
  },

  canSplitGuidance: true,

  workload(parts, request, size, guidance) {
    const { guided, maxSequenceLength, clipSkip, numImagesPerPrompt } = request;
    const texts = guided ? 2 : 1;
    const clip = { batch: clipSkip === 0 ? texts : 1, tokens: clipTokens(parts), hiddenState: -2 - clipSkip };
    const third =
      optionalModelOf(parts, T5) === undefined ? [] : [[T5, t5Graph(parts, T5, { batch: texts, tokens: maxSequenceLength })] as const];
    const textTokens = clip.tokens + maxSequenceLength;
    const batch = (texts * numImagesPerPrompt) / callsOfStep(guided, guidance);
    const { latentHeight, latentWidth } = size;
    return {
      encode: [...CLIPS.map((name) => [name, clipGraph(parts, name, clip)] as const), ...third],
      denoise: [["transformer", sd3Graph(parts, { batch, latentHeight, latentWidth, textTokens, timesteps: 1 })]],
    };
  },

  async *encode(parts, request) {
    const sizes = { clipTokens: clipTokens(parts), width: transformerConfig(parts).joint_attention_dim };
    const { encoderHiddenStates, pooledProjections } = yield* encodeTexts(parts, request, sizes);
    const images = request.numImagesPerPrompt;
    return { encoderHiddenStates: repeatEach(encoderHiddenStates, images), pooledProjections: repeatEach(pooledProjections, images) };
  },

  denoiser(parts, request, size, text) {
    return new SD3Denoiser(parts, request, size, text);
  },
};

const SECOND_QUANTIZED =
  "text_encoder_2 is quantized, from which Stable Diffusion 3's pictures suffer more than from the others; " +
  "recommended are text_encoder, text_encoder_3, or both of them";

function transformerConfig(parts: PipelineParts): SD3Config {
  return partConfig(parts, "transformer", SD3ConfigSchema);
}

function clipConfig(parts: PipelineParts, name: (typeof CLIPS)[number]): ClipTextConfig {
  return partConfig(parts, name, ClipTextConfigSchema);
}

/** Both CLIPs read texts of the length of the first one's tokenizer. */
function clipTokens(parts: PipelineParts): number {
  return Math.min(tokenizerOf(parts, "tokenizer").modelMaxLength, ...CLIPS.map((name) => clipConfig(parts, name).max_position_embeddings));
}

/** Whether texts for a third encoder were given that is not there. */
function readsNothing(parts: PipelineParts, { prompt, prompt3, negativePrompt, negativePrompt3 }: Request): boolean {
  return optionalModelOf(parts, T5) === undefined && (prompt3 !== prompt || negativePrompt3 !== negativePrompt);
}

/** The shift of noise levels for a picture of that many patches: on the line through the config's two points. */
function shiftFor(config: Readonly<Record<string, unknown>>, patches: number): number {
  const { base_image_seq_len, max_image_seq_len, base_shift, max_shift } = config as Record<string, number>;
  const [fewest, most, least, strongest] = [base_image_seq_len, max_image_seq_len, base_shift, max_shift] as [
    number,
    number,
    number,
    number,
  ];
  const slope = (strongest - least) / (most - fewest);
  return patches * slope + (least - slope * fewest);
}
