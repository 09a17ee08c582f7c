/** Pictures as sequences of square patches, and back. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { reshape, transpose } from "../graph/operators.ts";
import { conv } from "./conv.ts";

/**
 * One convolution a patch, row by row.
 *
 * Shapes: x [batch, in, height, width] -> [batch, height / patch * width / patch, out].
 * Source: diffusers models/embeddings.py@0.42.1 PatchEmbed, without its position embedding.
 */
export function patchSequence(g: Graph, weights: Weights, x: Value, options: { out: number; patch: number }): Value {
  const { out, patch } = options;
  const patches = conv(g, weights, x, { out, kernel: patch, stride: patch });
  const [batch, , rows, columns] = patches.shape as [number, number, number, number];
  return transpose(g, reshape(g, patches, [batch, out, rows * columns]), [0, 2, 1]);
}

/** Shapes: x [batch, rows * columns, patch * patch * channels] -> [batch, channels, rows * patch, columns * patch]. */
export function picture(g: Graph, x: Value, options: { rows: number; columns: number; patch: number }): Value {
  const { rows, columns, patch } = options;
  const batch = x.shape[0] as number;
  const channels = (x.shape.at(-1) as number) / patch ** 2;
  const patches = reshape(g, x, [batch, rows, columns, patch, patch, channels]);
  return reshape(g, transpose(g, patches, [0, 5, 1, 3, 2, 4]), [batch, channels, rows * patch, columns * patch]);
}
