/** Phase three: from latents to pixels, one picture at a time, so that memory does not grow with the batch. */
import type { ModelGraph } from "../graph/segment.ts";
import { vaeScaleFactor } from "../models/autoencoder-kl/config.ts";
import { autoencoderKLDecoder } from "../models/autoencoder-kl/model.ts";
import { Executor } from "../runtime/executor.ts";
import { memoryFeatureMap } from "../runtime/feature-map.ts";
import { fileFeatureMaps } from "../runtime/feature-map-node.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { type DecoderAsked, type DecodeWay, decodeCost } from "./decode-ways.ts";
import type { PipelineEvent } from "./events.ts";
import { callModel } from "./model-call.ts";
import { vaeConfig } from "./part-configs.ts";
import { modelOf, type PipelineParts } from "./parts.ts";
import type { WorkSize } from "./pipeline-class.ts";
import { StripDecoder } from "./strip-decoder.ts";

const WHOLE: DecodeWay = { kind: "whole" };
const NARROWEST: DecodeWay = { kind: "strips", rows: 8, maps: "file" };

/**
 * Decodes pictures one after the other, as they are asked for; `shift` is what the pipeline adds to latents after un-scaling them.
 *
 * Shapes: latents [images, channels, height, width] -> for each image a sample [1, 3, factor * height, factor * width], about -1..1.
 */
export async function* decodeLatents(
  parts: PipelineParts,
  latents: FloatTensor,
  shift: number,
  signal: AbortSignal | undefined,
  onSample: (sample: FloatTensor, index: number) => AsyncGenerator<PipelineEvent>,
): AsyncGenerator<PipelineEvent> {
  const model = modelOf(parts, "vae");
  const config = vaeConfig(parts);
  const [images = 0, channels = 0, height = 0, width = 0] = latents.shape;
  const executor = openDecoder(parts, height, width);
  const perImage = channels * height * width;
  try {
    for (let index = 0; index < images; index++) {
      const one = unscale(latents.data.subarray(index * perImage, (index + 1) * perImage), config.scaling_factor, shift);
      const call = { executor, model, phase: "decode", outputs: ["sample"], signal } as const;
      const { sample } = yield* callModel(call, { latents: floatTensor([1, channels, height, width], one) });
      yield* onSample(sample, index);
    }
  } finally {
    await executor.dispose();
  }
}

/** The decoder for one picture. */
export function decoderGraph(parts: PipelineParts, size: Pick<WorkSize, "latentHeight" | "latentWidth">): ModelGraph {
  const model = modelOf(parts, "vae");
  const picture = { batch: 1, height: size.latentHeight, width: size.latentWidth };
  return autoencoderKLDecoder(model.weights(), vaeConfig(parts), model.dtype, picture);
}

/** What predictions ask of the decoder. */
export function decoderOf(parts: PipelineParts): DecoderAsked {
  const model = modelOf(parts, "vae");
  return { config: vaeConfig(parts), weights: model.weights(), dtype: model.dtype };
}

/**
 * A lower bound of what decoding one picture takes: in the narrowest strips, or whole, where that is asked for, the widest features at full
 * size before and after a convolution.
 */
export function minimumDecodeBytes(parts: PipelineParts, size: { height: number; width: number }): number {
  const config = vaeConfig(parts);
  const factor = vaeScaleFactor(config);
  const way = parts.decodeWay ?? NARROWEST;
  // A part of what it takes, since predictions are no bounds.
  if (way.kind === "strips") {
    return decodeCost(decoderOf(parts), way, roundUp(size.height, factor), roundUp(size.width, factor)).anonymousBytes / 2;
  }
  const channels = config.block_out_channels[1] ?? config.block_out_channels[0] ?? 1;
  return 2 * 4 * channels * size.height * size.width;
}

function openDecoder(parts: PipelineParts, height: number, width: number): Executor | StripDecoder {
  const { runtime, decodeWay: way = WHOLE } = parts;
  if (way.kind === "whole") return new Executor(runtime, decoderGraph(parts, { latentHeight: height, latentWidth: width }));
  const openMap = way.maps === "memory" ? memoryFeatureMap : fileFeatureMaps();
  return new StripDecoder({ runtime, ...decoderOf(parts), height, width, rows: way.rows, openMap });
}

function roundUp(size: number, factor: number): number {
  return factor * Math.ceil(size / factor);
}

/** latents / scaling_factor + shift_factor, rounded to float32 after each step. */
function unscale(latents: Float32Array, scalingFactor: number, shiftFactor: number): Float32Array {
  const scale = Math.fround(scalingFactor);
  const shift = Math.fround(shiftFactor);
  return latents.map((value) => Math.fround(value / scale) + shift);
}
