/** Configs of a pipeline's parts, checked, and whether parts fit each other: what several pipeline classes ask. */
import { UsageError } from "../errors.ts";
import { type AutoencoderKLConfig, AutoencoderKLConfigSchema, vaeScaleFactor } from "../models/autoencoder-kl/config.ts";
import { modelConfig } from "../models/registry.ts";
import { modelOf, type PipelineParts, tokenizerOf } from "./parts.ts";
import type { WorkSize } from "./pipeline-class.ts";
import type { PictureSize } from "./resolution-binning.ts";

/**
 * The config of a part, checked against its class's schema.
 *
 * Errors: UsageError when the part is not there; CheckpointError and UnsupportedError for the config.
 */
export function partConfig<const S extends Parameters<typeof modelConfig>[0]>(parts: PipelineParts, name: string, schema: S) {
  const model = modelOf(parts, name);
  return modelConfig(schema, model.config, model.part, model.configPath);
}

/** The VAE's config. */
export function vaeConfig(parts: PipelineParts): AutoencoderKLConfig {
  return partConfig(parts, "vae", AutoencoderKLConfigSchema);
}

/** A size with that of its latents. */
export function withLatentSize(parts: PipelineParts, { height, width }: PictureSize): WorkSize {
  const factor = vaeScaleFactor(vaeConfig(parts));
  return { height, width, latentHeight: height / factor, latentWidth: width / factor };
}

/** Refuses a text encoder whose vectors are not as wide as the transformer expects. */
export function checkTextWidth(encoder: string, got: number, expected: number): void {
  if (got === expected) return;
  throw new UsageError(`the ${encoder} gives vectors of ${got} numbers, but the transformer expects ${expected}`);
}

/** Refuses a tokenizer with more tokens than its text encoder knows. */
export function checkVocabulary(parts: PipelineParts, tokenizer: string, encoder: string, vocabSize: number): void {
  const { size } = tokenizerOf(parts, tokenizer);
  if (size > vocabSize) throw new UsageError(`the ${tokenizer} has ${size} tokens, but the ${encoder} knows ${vocabSize}`);
}

/** Refuses a VAE whose latents are not the transformer's. */
export function checkLatentChannels(parts: PipelineParts, inChannels: number): void {
  const { latent_channels } = vaeConfig(parts);
  if (latent_channels === inChannels) return;
  throw new UsageError(`the vae has ${latent_channels} latent channels, but the transformer expects ${inChannels}`);
}
