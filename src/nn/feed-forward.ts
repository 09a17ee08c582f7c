/** Two linear layers with an activation between them, under the names that diffusers' modules give them. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { gelu } from "../graph/operators.ts";
import { inPieces } from "./in-pieces.ts";
import { linear } from "./linear.ts";

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
