/** Two-dimensional convolution, torch's nn.Conv2d. */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { conv2d } from "../graph/operators.ts";
import { layerWeight } from "./layer-weight.ts";
import { weightValue } from "./weight.ts";

/** Shape of a convolution; `pads` are zeros at [top, left, bottom, right]. */
export interface ConvOptions {
  /** Channels of the output. */
  out: number;
  /** Height and width of the square kernel. */
  kernel: number;
  stride?: number;
  pads?: readonly [number, number, number, number];
}

/** Shapes: x [batch, in, height, width], weight [out, in, kernel, kernel], bias [out] -> [batch, out, height', width']. */
export function conv(g: Graph, weights: Weights, x: Value, options: ConvOptions): Value {
  const { out, kernel, stride = 1, pads = [0, 0, 0, 0] as const } = options;
  const weight = layerWeight(g, weights, { kind: "conv2d", shape: [out, x.shape[1] as number, kernel, kernel], after: x });
  const bias = weightValue(g, weights.tensor("bias", [out]), { after: x });
  return conv2d(g, x, weight, bias, { stride, pads });
}
