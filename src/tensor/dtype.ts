/**
 * Element types, by the names that torch gives them. A checkpoint may store any of them; graphs calculate in float32.
 */

import { nearestWord, UsageError } from "../errors.ts";

/** Element type of a stored or computed tensor, by torch's name. */
export type DType =
  | "float64"
  | "float32"
  | "float16"
  | "bfloat16"
  | "float8_e4m3fn"
  | "float8_e4m3fnuz"
  | "float8_e5m2"
  | "float8_e5m2fnuz"
  | "int64"
  | "int32"
  | "int16"
  | "int8"
  | "uint64"
  | "uint32"
  | "uint16"
  | "uint8"
  | "bool";

/** The dtypes that a pipeline may be loaded in: what weights and noise are rounded to. */
export type ComputeDType = "float32" | "float16" | "bfloat16";

/** All values of ComputeDType, for validation and messages. */
export const COMPUTE_DTYPES: readonly ComputeDType[] = ["float32", "float16", "bfloat16"];

const SIZE_BYTES: Record<DType, number> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float8_e4m3fn: 1,
  float8_e4m3fnuz: 1,
  float8_e5m2: 1,
  float8_e5m2fnuz: 1,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint64: 8,
  uint32: 4,
  uint16: 2,
  uint8: 1,
  bool: 1,
};

/**
 * The dtype of an option's value, float32 if there is none.
 *
 * Errors: UsageError that names the dtypes there are.
 */
export function checkDtype(dtype: string | undefined): ComputeDType {
  const found = COMPUTE_DTYPES.find((known) => known === (dtype ?? "float32"));
  if (found !== undefined) return found;
  const near = nearestWord(String(dtype), COMPUTE_DTYPES);
  throw new UsageError(`dtype must be one of ${COMPUTE_DTYPES.join(", ")}, got ${JSON.stringify(dtype)}`, {
    hint: near === undefined ? undefined : `did you mean ${near}?`,
  });
}

/** Bytes that one element takes when stored. */
export function elementSizeBytes(dtype: DType): number {
  return SIZE_BYTES[dtype];
}

/** Whether a dtype holds floating-point numbers. */
export function isFloat(dtype: DType): boolean {
  return dtype.startsWith("float") || dtype === "bfloat16";
}
