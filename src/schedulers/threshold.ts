/**
 * Dynamic thresholding: each picture's prediction is clipped at a quantile of its absolute values, then scaled back to -1..1.
 *
 * Source: diffusers scheduling_ddpm.py `_threshold_sample`@0.42.1 and torch.quantile@2.13.0 (linear interpolation, float32).
 */

import { UsageError } from "../errors.ts";

const f = Math.fround;

/** How to threshold, from the config. */
export interface Threshold {
  readonly ratio: number;
  readonly maximum: number;
}

/**
 * Returns the prediction with each of its pictures thresholded.
 *
 * Errors: UsageError when the prediction is not made of `images` equal parts.
 */
export function thresholded(prediction: Float32Array, images: number, { ratio, maximum }: Threshold): Float32Array {
  const result = new Float32Array(prediction.length);
  const size = prediction.length / images;
  if (!Number.isInteger(size))
    throw new UsageError(`a sample of ${prediction.length} values cannot be thresholded as ${images} images of equal size`);
  for (let start = 0; start < prediction.length; start += size) {
    const picture = prediction.subarray(start, start + size);
    const limit = f(Math.min(Math.max(quantile(picture.map(Math.abs), ratio), 1), maximum));
    for (let i = 0; i < size; i++) result[start + i] = Math.min(Math.max(picture[i] as number, -limit), limit) / limit;
  }
  return result;
}

function quantile(values: Float32Array, ratio: number): number {
  const sorted = values.sort();
  const rank = f(f(ratio) * (sorted.length - 1));
  const below = sorted[Math.floor(rank)] as number;
  const above = sorted[Math.ceil(rank)] as number;
  const weight = rank - Math.floor(rank);
  const gap = f(above - below);
  return weight < 0.5 ? f(weight * gap + below) : f(above - f(gap * f(1 - weight)));
}
