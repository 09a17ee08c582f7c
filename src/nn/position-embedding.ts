/** Sine and cosine embeddings, calculated in JavaScript and given to graphs as inputs. */
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";

/** A grid of patches and how its coordinates are stretched. */
export interface PatchGrid {
  /** Patches from top to bottom. */
  gridHeight: number;
  /** Patches from left to right. */
  gridWidth: number;
  /** Patches a side at the size that the model was trained for. */
  baseSize: number;
  /** Divides the coordinates, so that a larger picture covers the range that a smaller one had. */
  interpolationScale: number;
}

/**
 * Position embedding of a grid of patches.
 *
 * Shapes: [1, gridHeight * gridWidth, width]; the first half of the width encodes the column, the second the row, each sines then cosines.
 * Source: diffusers models/embeddings.py@0.42.1 get_2d_sincos_pos_embed: float32 coordinates, float64 frequencies.
 */
export function sinCosPositionEmbedding(width: number, grid: PatchGrid): FloatTensor {
  const quarter = width / 4;
  const frequencies = Array.from({ length: quarter }, (_, i) => 1 / 10000 ** (i / (width / 4)));
  const { baseSize, interpolationScale, gridHeight, gridWidth } = grid;
  const f = Math.fround;
  const coordinate = (index: number, count: number) => f(f(index / f(count / baseSize)) / f(interpolationScale));
  const result = floatTensor([1, gridHeight * gridWidth, width]);
  for (let row = 0; row < gridHeight; row++) {
    for (let column = 0; column < gridWidth; column++) {
      const at = (row * gridWidth + column) * width;
      writeSinCos(result.data, at, coordinate(column, gridWidth), frequencies);
      writeSinCos(result.data, at + width / 2, coordinate(row, gridHeight), frequencies);
    }
  }
  return result;
}

function writeSinCos(target: Float32Array, at: number, position: number, frequencies: readonly number[]): void {
  for (const [i, frequency] of frequencies.entries()) {
    target[at + i] = Math.sin(position * frequency);
    target[at + frequencies.length + i] = Math.cos(position * frequency);
  }
}

/**
 * Sinusoidal embedding of timesteps (or of any scalar condition), cosines first.
 *
 * Shapes: [values.length, channels]. Units: timesteps of the training schedule (0..1000) once multiplied by `scale`.
 * Source: diffusers models/embeddings.py@0.42.1 get_timestep_embedding with flip_sin_to_cos=True, downscale_freq_shift=0; float32 throughout.
 */
export function timestepEmbedding(values: readonly number[], channels: number, scale = 1): FloatTensor {
  const half = channels / 2;
  const f = Math.fround;
  const frequencies = Float32Array.from({ length: half }, (_, i) => Math.exp(f(f(f(-Math.log(10000)) * i) / half)));
  const result = floatTensor([values.length, channels]);
  for (const [row, value] of values.entries()) {
    for (let i = 0; i < half; i++) {
      const angle = f(scale * f(f(value) * (frequencies[i] as number)));
      result.data[row * channels + i] = Math.cos(angle);
      result.data[row * channels + half + i] = Math.sin(angle);
    }
  }
  return result;
}
