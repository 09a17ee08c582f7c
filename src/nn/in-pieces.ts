/**
 * Rows (tokens) some after the others: what widens each of them, as a feed-forward or the scores of an attention, would make the largest values
 * that the model of a large picture has. The numbers are the same.
 */
import type { Graph, Value } from "../graph/graph.ts";
import { concat, slice, waitFor } from "../graph/operators.ts";
import { elementCount } from "../tensor/tensor.ts";

/**
 * Bytes of widened rows that are there at a time: they fit a cache of 32 MB, and unpacking the weights for each piece costs no more than that saves
 * (docs/memory.md has the measurement).
 */
const WIDENED_BYTES = 32e6;
/** Of a picture in a piece: few are multiplied in another way, and how many pictures a call holds must decide nothing. */
const LEAST_ROWS = 64;

/**
 * Applies what treats every row by itself and makes `widened` values of it on the way.
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
