/**
 * From what the VAE's decoder returns to pixels.
 *
 * Source: diffusers image_processor.py@0.42.1, VaeImageProcessor.postprocess + numpy_to_pil; every step rounds to float32 as there.
 */
import { UsageError } from "../errors.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import type { Pixels } from "./pixels.ts";

/**
 * Turns decoded samples, -1..1, into pictures, one for each image of the batch; what lies outside is clamped.
 *
 * Shapes: samples [images, 3, height, width].
 * Errors: UsageError when the tensor does not have this shape.
 */
export function imagesFromTensor(samples: FloatTensor): Pixels[] {
  const [images = 0, channels, height = 0, width = 0] = samples.shape;
  if (samples.shape.length !== 4 || channels !== 3) {
    throw new UsageError(`pictures are made of a tensor [images, 3, height, width], got [${samples.shape.join(", ")}]`);
  }
  return Array.from({ length: images }, (_, index) => ({
    width,
    height,
    data: interleave(samples.data, index * 3 * width * height, width * height),
  }));
}

/** Three planes to three bytes a pixel. */
function interleave(data: Float32Array, start: number, planeSize: number): Uint8Array {
  const rgb = new Uint8Array(3 * planeSize);
  for (let channel = 0; channel < 3; channel++) {
    const plane = start + channel * planeSize;
    for (let i = 0; i < planeSize; i++) rgb[3 * i + channel] = toByte(data[plane + i] as number);
  }
  return rgb;
}

/** -1..1 to 0..255, a tie to the even neighbour. */
function toByte(sample: number): number {
  const unit = Math.min(1, Math.max(0, Math.fround(Math.fround(sample * 0.5) + 0.5)));
  const scaled = Math.fround(unit * 255);
  const low = Math.floor(scaled);
  const rest = scaled - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
}
