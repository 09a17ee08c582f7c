/**
 * A dense row-major tensor in JavaScript memory: what flows between a pipeline's phases. Weights never take this form.
 */

/** A float32 tensor; shape[0] is the outermost axis. */
export interface FloatTensor {
  readonly dtype: "float32";
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** An integer tensor (token ids, indices). */
export interface IntTensor {
  readonly dtype: "int64";
  readonly shape: readonly number[];
  readonly data: BigInt64Array;
}

/** Any tensor that a compiled program takes or returns. */
export type Tensor = FloatTensor | IntTensor;

/** Size of the features of a picture. */
export interface MapShape {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/** Wraps float32 data (zeros if none is given) with its shape. */
export function floatTensor(shape: readonly number[], data: Float32Array = new Float32Array(elementCount(shape))): FloatTensor {
  return { dtype: "float32", shape, data };
}

/** Wraps integers with their shape. */
export function intTensor(shape: readonly number[], values: readonly number[]): IntTensor {
  return { dtype: "int64", shape, data: BigInt64Array.from(values, (value) => BigInt(value)) };
}
