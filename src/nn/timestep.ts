/** diffusers' TimestepEmbedding (models/embeddings.py@0.42.1): from a sinusoidal projection to a vector that modulates blocks. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { silu } from "../graph/operators.ts";
import { linear } from "./linear.ts";

/**
 * Two linear layers with SiLU between.
 *
 * Shapes: x [rows, channels] -> [rows, width].
 */
export function timestepMlp(g: Graph, weights: Weights, x: Value, width: number): Value {
  return linear(g, weights.at("linear_2"), silu(g, linear(g, weights.at("linear_1"), x, { out: width })), { out: width });
}
