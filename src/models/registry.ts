/**
 * The model classes that halftone can run, by the names that checkpoints use. A new model is one folder beside this file and one line here.
 */
import { parseConfig } from "../checkpoint/config.ts";
import type { Weights } from "../checkpoint/weights.ts";
import { nearestWord, UnsupportedError, withArticle } from "../errors.ts";
import type { ModelGraph } from "../graph/segment.ts";
import type { ComputeDType } from "../tensor/dtype.ts";
import { AuraFlowConfigSchema } from "./auraflow/config.ts";
import { auraFlowTransformer } from "./auraflow/model.ts";
import { AutoencoderKLConfigSchema, vaeScaleFactor } from "./autoencoder-kl/config.ts";
import { autoencoderKLDecoder, autoencoderKLEncoder } from "./autoencoder-kl/model.ts";
import { ClipTextConfigSchema } from "./clip/config.ts";
import { clipTextModel, clipTextModelWithProjection } from "./clip/model.ts";
import { PixArtConfigSchema } from "./pixart/config.ts";
import { pixArtTransformer } from "./pixart/model.ts";
import { SD3ConfigSchema } from "./sd3/config.ts";
import { sd3Transformer } from "./sd3/model.ts";
import { T5ConfigSchema, UMT5ConfigSchema } from "./t5/config.ts";
import { t5Encoder, umt5Encoder } from "./t5/model.ts";

/** What the rest of halftone knows of a model class without running it. */
export interface ModelClass {
  /** The library whose file names its checkpoints use: decides between model.safetensors and diffusion_pytorch_model.safetensors. */
  readonly library: "transformers" | "diffusers";
  /** Why the class is never quantized, where it is not. */
  readonly neverQuantized?: string;
  /**
   * The graphs at their smallest size: building them checks the config, and every weight's name and shape.
   *
   * `where` is the config's file, for messages.
   */
  probe(weights: Weights, config: unknown, dtype: ComputeDType, where: string): readonly ModelGraph[];
}

/** Checks a config and returns it: what a pipeline calls before it builds a graph. */
export function modelConfig<const S extends Parameters<typeof parseConfig>[0]>(schema: S, config: unknown, part: string, where: string) {
  return parseConfig(schema, config, `${part} config`, where);
}

/** All classes by name. */
export const MODEL_CLASSES: Readonly<Record<string, ModelClass>> = {
  T5EncoderModel: {
    library: "transformers",
    probe: (weights, config, dtype, where) => [
      t5Encoder(weights, modelConfig(T5ConfigSchema, config, weights.component, where), dtype, { batch: 1, tokens: 1 }),
    ],
  },
  UMT5EncoderModel: {
    library: "transformers",
    probe: (weights, config, dtype, where) => [
      umt5Encoder(weights, modelConfig(UMT5ConfigSchema, config, weights.component, where), dtype, { batch: 1, tokens: 1 }),
    ],
  },
  CLIPTextModelWithProjection: {
    library: "transformers",
    probe: (weights, config, dtype, where) => [
      clipTextModelWithProjection(weights, modelConfig(ClipTextConfigSchema, config, weights.component, where), dtype, {
        batch: 1,
        tokens: 1,
      }),
    ],
  },
  CLIPTextModel: {
    library: "transformers",
    probe: (weights, config, dtype, where) => [
      clipTextModel(weights, modelConfig(ClipTextConfigSchema, config, weights.component, where), dtype, { batch: 1, tokens: 1 }),
    ],
  },
  PixArtTransformer2DModel: {
    library: "diffusers",
    probe: (weights, config, dtype, where) => {
      const parsed = modelConfig(PixArtConfigSchema, config, weights.component, where);
      const side = parsed.patch_size;
      return [
        pixArtTransformer(weights, parsed, dtype, { batch: 1, latentHeight: side, latentWidth: side, captionTokens: 1, timesteps: 1 }),
      ];
    },
  },
  AuraFlowTransformer2DModel: {
    library: "diffusers",
    probe: (weights, config, dtype, where) => {
      const parsed = modelConfig(AuraFlowConfigSchema, config, weights.component, where);
      const side = parsed.patch_size;
      return [
        auraFlowTransformer(weights, parsed, dtype, { batch: 1, latentHeight: side, latentWidth: side, textTokens: 1, timesteps: 1 }),
      ];
    },
  },
  SD3Transformer2DModel: {
    library: "diffusers",
    probe: (weights, config, dtype, where) => {
      const parsed = modelConfig(SD3ConfigSchema, config, weights.component, where);
      const side = parsed.patch_size;
      return [sd3Transformer(weights, parsed, dtype, { batch: 1, latentHeight: side, latentWidth: side, textTokens: 1, timesteps: 1 })];
    },
  },
  AutoencoderKL: {
    library: "diffusers",
    neverQuantized: "a VAE becomes numerically unstable and would save little",
    probe: (weights, config, dtype, where) => {
      const parsed = modelConfig(AutoencoderKLConfigSchema, config, weights.component, where);
      const side = vaeScaleFactor(parsed);
      return [
        autoencoderKLDecoder(weights, parsed, dtype, { batch: 1, height: 1, width: 1 }),
        autoencoderKLEncoder(weights, parsed, dtype, { batch: 1, height: side, width: side }),
      ];
    },
  },
};

/**
 * The name of a class today: checkpoints made before diffusers 0.30 call several transformers by one name, told apart by norm_type.
 *
 * Source: diffusers models/model_loading_utils.py@0.42.1 _CLASS_REMAPPING_DICT.
 */
export function currentClassName(className: string, config: Readonly<Record<string, unknown>>): string {
  return className === GENERIC_TRANSFORMER && config.norm_type === "ada_norm_single" ? "PixArtTransformer2DModel" : className;
}

/**
 * Refuses a class by its name alone, before its config is there.
 *
 * Errors: as findModelClass.
 */
export function checkModelClass(className: string, part: string, where: string): void {
  if (className !== GENERIC_TRANSFORMER) findModelClass(className, part, where);
}

const GENERIC_TRANSFORMER = "Transformer2DModel";

/**
 * The class of a name.
 *
 * Errors: UnsupportedError that names the classes there are.
 */
export function findModelClass(className: string, part: string, where: string): ModelClass {
  const found = Object.hasOwn(MODEL_CLASSES, className) ? MODEL_CLASSES[className] : undefined;
  if (found !== undefined) return found;
  const known = Object.keys(MODEL_CLASSES);
  const near = nearestWord(className, known);
  throw new UnsupportedError(`${part} is ${withArticle(className)}, which halftone does not run`, {
    where,
    hint: near === undefined ? `the classes it runs are ${known.join(", ")}` : `the nearest class it runs is ${near}`,
  });
}
