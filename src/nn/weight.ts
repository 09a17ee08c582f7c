/**
 * Brings a stored weight into a graph as the float32 values that the model calculates with.
 *
 * Weights are widened where they are used and dropped again, so a graph never holds more than a few of them unpacked: float16 and bfloat16
 * stay half as wide as the arithmetic. The pipeline's dtype rounds first: a float32 weight loaded as float16 passes through float16. One that
 * is float32 all the way waits like the others, though nothing is unpacked: it hides the shapes of what is calculated from it, which would
 * share buffers and take more memory (waitFor).
 */
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import { CheckpointError } from "../errors.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { cast, concat, waitFor } from "../graph/operators.ts";
import { type ComputeDType, type DType, isFloat } from "../tensor/dtype.ts";

/** From this size on a weight's unpacking waits for its layer's input; smaller ones may all be unpacked at once. */
const WAIT_FROM_BYTES = 64 * 1024;

/** How a weight is read. */
export interface WeightOptions {
  /** The layer's input: unpacking waits for it. */
  after: Value;
  /** Keeps the stored precision whatever the pipeline's dtype (T5's `wo`). */
  keepPrecision?: boolean | undefined;
  /** The engine is told the shape of what waits: for slices. */
  isDeclared?: boolean | undefined;
}

/** The weight in float32, rounded to the graph's dtype on the way; several of one dtype are joined along axis 0. */
export function weightValue(g: Graph, stored: StoredTensor | readonly StoredTensor[], options: WeightOptions): Value {
  const tensors = Array.isArray(stored) ? (stored as readonly StoredTensor[]) : [stored as StoredTensor];
  for (const tensor of tensors) checkFloat(tensor);
  const [first] = tensors as [StoredTensor];
  const path = conversions(first.dtype, options.keepPrecision ? "float32" : g.dtype);
  const waits = tensors.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) >= WAIT_FROM_BYTES;
  const values = tensors.map((tensor) => (waits ? waitFor(g, g.weight(tensor), options.after, options) : g.weight(tensor)));
  const joined = values.length === 1 ? (values[0] as Value) : concat(g, values, 0);
  return path.reduce((previous, dtype) => cast(g, previous, dtype), joined);
}

/**
 * Refuses integers where numbers of any size belong: codes without the scales that give them a meaning.
 *
 * Errors: CheckpointError.
 */
export function checkFloat(stored: StoredTensor): void {
  if (isFloat(stored.dtype)) return;
  throw new CheckpointError(`weight ${JSON.stringify(stored.name)} is stored as ${stored.dtype}, expected a float dtype`, {
    where: stored.source.name,
    hint: "quantized weights are read in Quanto's and diffusers' layouts, with their scales",
  });
}

/**
 * The dtypes that a stored value passes through to become float32, rounded to `dtype` on the way.
 *
 * A narrower dtype is only ever reached from float32, the one conversion that every engine rounds to nearest even.
 */
export function conversions(stored: DType, dtype: ComputeDType): DType[] {
  const path: DType[] = stored === "float32" ? [] : ["float32"];
  return dtype === "float32" || dtype === stored ? path : [...path, dtype, "float32"];
}
