/** Guidance: the prediction is pushed away from a worse one, be it for the negative prompt or of a model that lacks some layers. */
import type { GuidanceWay } from "./pipeline-class.ts";

/** Calls of the transformer for one step: two where prompt and negative prompt go one after the other. */
export function callsOfStep(guided: boolean, way: GuidanceWay = "batched"): 1 | 2 {
  return guided && way === "sequential" ? 2 : 1;
}

/**
 * Mixes the two halves of a prediction: unconditional + scale * (conditional - unconditional), each step rounded to float32 as torch does.
 *
 * Shapes: prediction [2 * images, …], unconditional half first -> [images, …].
 */
export function guide(prediction: Float32Array, scale: number): Float32Array {
  const half = prediction.length / 2;
  const result = new Float32Array(half);
  const factor = Math.fround(scale);
  for (let i = 0; i < half; i++) {
    const unconditional = prediction[i] as number;
    const difference = Math.fround((prediction[half + i] as number) - unconditional);
    result[i] = unconditional + Math.fround(factor * difference);
  }
  return result;
}

/**
 * Skip-layer guidance: prediction + scale * (conditional - skipped), where `skipped` is the prompt's prediction without some of the layers.
 *
 * Shapes: all [images, …]. Source: diffusers pipeline_stable_diffusion_3.py@0.42.1.
 */
export function guideFromSkipped(prediction: Float32Array, conditional: Float32Array, skipped: Float32Array, scale: number): Float32Array {
  const factor = Math.fround(scale);
  return Float32Array.from(prediction, (value, i) => {
    const difference = Math.fround((conditional[i] as number) - (skipped[i] as number));
    return value + Math.fround(difference * factor);
  });
}

/**
 * The first `channels` of each picture: models that also predict a variance put it behind the noise.
 *
 * Shapes: values [images, allChannels, …], `pictureSize` numbers a picture -> [images, channels, …].
 */
export function firstChannels(values: Float32Array, images: number, allChannels: number, channels: number): Float32Array {
  if (allChannels === channels) return values;
  const pictureSize = values.length / images;
  const kept = (pictureSize / allChannels) * channels;
  const result = new Float32Array(images * kept);
  for (let i = 0; i < images; i++) result.set(values.subarray(i * pictureSize, i * pictureSize + kept), i * kept);
  return result;
}
