/**
 * The upsampling of AutoencoderKL at four ninths of its arithmetic, for the rows of a strip.
 *
 * Repeating each pixel twice and then convolving 3x3 multiplies every pixel by the sum of two or three kernel entries. Summed beforehand,
 * the same result takes a 2x2 kernel for each of the four kinds of pixels (upper or lower, left or right): [4 * channels, channels, 2, 2],
 * whose results are then interleaved. It differs from repeating and convolving by the order of sums alone.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { concat, conv2d, matMulTransposed, reshape, slice, sliceAxes, transpose } from "../../graph/operators.ts";
import { layerWeight } from "../../nn/layer-weight.ts";
import { weightValue } from "../../nn/weight.ts";

/**
 * Which of a 3-tap kernel's entries fall on the first and the second of two neighbouring pixels, for the two new pixels between them: the
 * second half of the first pixel, and the first half of the second.
 */
const FALLS_ON = [
  [
    [1, 1, 0],
    [0, 0, 1],
  ],
  [
    [1, 0, 0],
    [0, 1, 1],
  ],
] as const;

/** Rows of a strip, as the upsampler makes them. */
export interface UpsampledRows {
  /** Rows of zeros above and below what it reads: beyond the picture. */
  readonly padTop: number;
  readonly padBottom: number;
  /** Rows that it makes and nobody needs: 0 or 1 above, any number below. */
  readonly skip: number;
  /** Rows that are needed. */
  readonly rows: number;
}

/**
 * The summed kernels of the output channels from `from` to before `to`: weight [channels, channels, 3, 3] ->
 * [4 * (to - from), channels, 2, 2], the four new pixels of a channel next to each other.
 */
export function upsampleKernels(
  g: Graph,
  weights: Weights,
  channels: number,
  { from, to, after }: { from: number; to: number; after: Value },
): Value {
  const weight = layerWeight(g, weights.at("conv"), { kind: "conv2d", shape: [channels, channels, 3, 3], after });
  const places = g.floats(summingMatrix(), [16, 9]);
  const count = to - from;
  const summed = matMulTransposed(g, reshape(g, slice(g, weight, 0, from, to), [count * channels, 9]), places);
  const byPixel = transpose(g, reshape(g, summed, [count, channels, 4, 4]), [0, 2, 1, 3]);
  return reshape(g, byPixel, [4 * count, channels, 2, 2]);
}

/** Doubles the size and convolves: x [1, channels, height, width] -> [1, channels, rows, 2 * width]. */
export function upsampleRows(g: Graph, weights: Weights, x: Value, kernels: Value, strip: UpsampledRows): Value {
  const [, channels, height, width] = x.shape as [number, number, number, number];
  const { padTop, padBottom, skip, rows } = strip;
  const bias = reshape(g, weightValue(g, weights.at("conv").tensor("bias", [channels]), { after: x }), [channels, 1]);
  const biases = reshape(g, concat(g, [bias, bias, bias, bias], 1), [4 * channels]);
  const pairs = conv2d(g, x, kernels, biases, { pads: [padTop, 1, padBottom, 1] });
  const pairRows = height + padTop + padBottom - 1;
  // Neighbours along both axes, where DepthToSpace would do the same in four times as long.
  const interleaved = transpose(g, reshape(g, pairs, [channels, 2, 2, pairRows, width + 1]), [0, 3, 1, 4, 2]);
  return sliceAxes(g, reshape(g, interleaved, [1, channels, 2 * pairRows, 2 * (width + 1)]), [
    { axis: 2, start: skip, end: skip + rows },
    { axis: 3, start: 1, end: 1 + 2 * width },
  ]);
}

/** [new pixel (vertical, horizontal) x place in the 2x2 kernel, entry of the 3x3 kernel]: 1 where the entry falls on the place. */
function summingMatrix(): number[] {
  const two = [0, 1] as const;
  const three = [0, 1, 2] as const;
  return two.flatMap((u) =>
    two.flatMap((v) =>
      two.flatMap((a) => two.flatMap((b) => three.flatMap((i) => three.map((j) => FALLS_ON[u][a][i] * FALLS_ON[v][b][j])))),
    ),
  );
}
