/**
 * Brings decoded samples from the size they were generated at to the size that was asked for: scaled until both sides cover it, then
 * cut in the middle. Used with resolution binning.
 *
 * Source: diffusers image_processor.py@0.42.1 PixArtImageProcessor.resize_and_crop_tensor and torch's upsample_bilinear2d@2.13.0
 * (no antialiasing, align_corners false); differs: a side that rounding makes one pixel shorter than asked for is taken as asked for
 * (there, 1408 x 704 to 256 x 480 gives a picture one pixel wide).
 */
import { elementCount, type FloatTensor, floatTensor } from "../tensor/tensor.ts";

/**
 * Scales and crops samples to a size.
 *
 * Shapes: samples [images, channels, h, w] -> [images, channels, height, width].
 */
export function resizeAndCrop(samples: FloatTensor, height: number, width: number): FloatTensor {
  const [images = 0, channels = 0, oldHeight = 0, oldWidth = 0] = samples.shape;
  if (oldHeight === height && oldWidth === width) return samples;
  const ratio = Math.max(height / oldHeight, width / oldWidth);
  const scaledHeight = Math.max(height, Math.floor(oldHeight * ratio));
  const scaledWidth = Math.max(width, Math.floor(oldWidth * ratio));
  const rows = takeWindow(oldHeight, scaledHeight, height);
  const columns = takeWindow(oldWidth, scaledWidth, width);
  const shape = [images, channels, height, width];
  const out = new Float32Array(elementCount(shape));
  for (let plane = 0; plane < images * channels; plane++) {
    const source = samples.data.subarray(plane * oldHeight * oldWidth, (plane + 1) * oldHeight * oldWidth);
    scalePlane(source, oldWidth, rows, columns, out.subarray(plane * height * width, (plane + 1) * height * width));
  }
  return floatTensor(shape, out);
}

/** For each new row (or column): the two old ones it lies between, and the weight of the second. */
interface Taps {
  readonly low: Int32Array;
  readonly high: Int32Array;
  readonly weight: Float32Array;
}

/** Taps of the middle `kept` of `scaled` rows. The position is rounded to float32 once: torch's build fuses the product and the difference. */
function takeWindow(old: number, scaled: number, kept: number): Taps {
  const step = Math.fround(old / scaled);
  const start = Math.floor((scaled - kept) / 2);
  const taps = { low: new Int32Array(kept), high: new Int32Array(kept), weight: new Float32Array(kept) };
  for (let i = 0; i < kept; i++) {
    const position = Math.max(0, Math.fround(step * (start + i + 0.5) - 0.5));
    const low = Math.min(Math.floor(position), old - 1);
    taps.low[i] = low;
    taps.high[i] = Math.min(low + 1, old - 1);
    taps.weight[i] = Math.min(1, position - low);
  }
  return taps;
}

function scalePlane(source: Float32Array, oldWidth: number, rows: Taps, columns: Taps, out: Float32Array): void {
  const width = columns.low.length;
  for (let y = 0; y < rows.low.length; y++) {
    const top = (rows.low[y] as number) * oldWidth;
    const bottom = (rows.high[y] as number) * oldWidth;
    const down = rows.weight[y] as number;
    for (let x = 0; x < width; x++) {
      const left = columns.low[x] as number;
      const right = columns.high[x] as number;
      const across = columns.weight[x] as number;
      const above = (source[top + left] as number) * (1 - across) + (source[top + right] as number) * across;
      const below = (source[bottom + left] as number) * (1 - across) + (source[bottom + right] as number) * across;
      out[y * width + x] = above * (1 - down) + below * down;
    }
  }
}
