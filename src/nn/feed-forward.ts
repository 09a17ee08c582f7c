/** Two linear layers with an activation between them, under the names that diffusers' modules give them. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { concat, gelu, slice, waitFor } from "../graph/operators.ts";
import { elementCount } from "../tensor/tensor.ts";
import { linear } from "./linear.ts";

/**
 * Bytes of widened rows that are there at a time: they fit a cache of 32 MB, and unpacking the weights for each piece costs no more than that saves
 * (docs/memory.md has the measurement).
 */
const WIDENED_BYTES = 32e6;
/** Of a picture in a piece: few are multiplied in another way, and how many pictures a call holds must decide nothing. */
const LEAST_ROWS = 64;

/**
 * FeedForward with GELU by tanh: net.0.proj widens four times, net.2 narrows.
 *
 * Shapes: x [..., width] -> the same. Source: diffusers models/attention.py@0.42.1 FeedForward, activation_fn "gelu-approximate".
 */
export function feedForward(g: Graph, weights: Weights, x: Value): Value {
  const width = x.shape.at(-1) as number;
  const net = weights.at("net");
  return inPieces(g, x, 4 * width, (rows) =>
    linear(g, net.at(2), linear(g, net.at(0, "proj"), rows, { out: 4 * width, gelu: true }), { out: width, oneSided: true }),
  );
}

/**
 * Applies what treats every row (token) by itself and widens it on the way, some rows after the others where there are many: the widened values of
 * a large picture would be the largest that its model has. The numbers are the same.
 *
 * Shapes: x [..., rows, width] -> [..., rows, any].
 */
export function inPieces(g: Graph, x: Value, widened: number, apply: (rows: Value) => Value): Value {
  const axis = x.shape.length - 2;
  const rows = x.shape[axis] as number;
  const bytes = (4 * widened * elementCount(x.shape)) / (x.shape.at(-1) as number);
  const count = Math.min(Math.ceil(bytes / WIDENED_BYTES), Math.floor(rows / LEAST_ROWS));
  if (count <= 1) return apply(x);
  const ends = Array.from({ length: count }, (_, i) => Math.round(((i + 1) * rows) / count));
  const pieces: Value[] = [];
  for (const [i, end] of ends.entries()) {
    // Of shapes that the engine does not know, so that no buffer is kept for the next block's: see waitFor.
    const all = waitFor(g, x, pieces.at(-1) ?? x);
    pieces.push(apply(slice(g, all, axis, ends[i - 1] ?? 0, end)));
  }
  const joined = concat(g, pieces, axis);
  g.declareShape(joined);
  return joined;
}

/**
 * linear_1, activation, linear_2, both of the same output width: how timesteps and texts enter a model, where fast runs stay faithful.
 *
 * Shapes: x [..., in] -> [..., out]. Source: diffusers models/embeddings.py@0.42.1 TimestepEmbedding (SiLU), PixArtAlphaTextProjection
 * (GELU by tanh or SiLU).
 */
export function twoLinear(g: Graph, weights: Weights, x: Value, out: number, activation: (g: Graph, x: Value) => Value): Value {
  const options = { out, faithful: true };
  return linear(g, weights.at("linear_2"), activation(g, linear(g, weights.at("linear_1"), x, options)), options);
}

/** GELU by tanh, as an activation to hand over. */
export function geluTanh(g: Graph, x: Value): Value {
  return gelu(g, x, "tanh");
}
