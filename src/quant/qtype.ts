/**
 * The types that weights are quantized to, as values with Quanto's names and properties.
 *
 * Source: optimum-quanto tensor/qtype.py@0.2.7; differs: a qtype knows how files store it (4 and 2 bits are packed into bytes, which
 * Quanto's own `dtype` hides), and the word that diffusers' config uses.
 */
import { nearestWord, UsageError } from "../errors.ts";
import type { DType } from "../tensor/dtype.ts";

/** Full names of the qtypes, as quanto_qmap.json spells them. */
export type QTypeName = "qint8" | "qint4" | "qint2" | "qfloat8_e4m3fn" | "qfloat8_e4m3fnuz" | "qfloat8_e5m2";

/** A type that weights are quantized to. */
export interface QType {
  readonly name: QTypeName;
  readonly bits: 8 | 4 | 2;
  /** Whether codes are integers or small floats. */
  readonly kind: "int" | "float";
  readonly qmin: number;
  readonly qmax: number;
  /** What a file stores: one code per byte, or 8 / bits codes packed into a uint8. */
  readonly storedDType: Extract<DType, "int8" | "uint8" | `float8_${string}`>;
  /** diffusers' word in `quantization_config.weights_dtype`, if it has one. */
  readonly diffusersName?: "int8" | "int4" | "int2" | "float8";
}

/** 8-bit integers, one scale per output row. */
export const qint8: QType = { ...integer(8), name: "qint8", bits: 8, storedDType: "int8", diffusersName: "int8" };
/** 4-bit integers with a scale and a shift per group. */
export const qint4: QType = { ...integer(4), name: "qint4", bits: 4, storedDType: "uint8", diffusersName: "int4" };
/** 2-bit integers with a scale and a shift per group. */
export const qint2: QType = { ...integer(2), name: "qint2", bits: 2, storedDType: "uint8", diffusersName: "int2" };
/** 8-bit floats with 3 bits of mantissa, up to 448; one scale per output row. */
export const qfloat8_e4m3fn: QType = { ...float("float8_e4m3fn", 448), name: "qfloat8_e4m3fn", diffusersName: "float8" };
/** 8-bit floats with 3 bits of mantissa and a single zero, up to 240; one scale per output row. */
export const qfloat8_e4m3fnuz: QType = { ...float("float8_e4m3fnuz", 240), name: "qfloat8_e4m3fnuz" };
/** 8-bit floats with 2 bits of mantissa, up to 57344; one scale per output row. */
export const qfloat8_e5m2: QType = { ...float("float8_e5m2", 57344), name: "qfloat8_e5m2" };
/**
 * The 8-bit float that is meant unless told: qfloat8_e4m3fn.
 *
 * @alias
 */
export const qfloat8: QType = qfloat8_e4m3fn;

/** Every qtype once, in the order in which messages list them. */
export const QTYPES: readonly QType[] = [qint8, qint4, qint2, qfloat8_e4m3fn, qfloat8_e4m3fnuz, qfloat8_e5m2];

function integer(bits: number) {
  return { kind: "int", qmin: -(2 ** (bits - 1)), qmax: 2 ** (bits - 1) - 1 } as const;
}

function float<D extends QType["storedDType"]>(storedDType: D, qmax: number) {
  return { kind: "float", bits: 8, qmin: -qmax, qmax, storedDType } as const;
}

/**
 * The qtype of a name; "qfloat8" is qfloat8_e4m3fn.
 *
 * Errors: UsageError that names the nearest word.
 */
export function findQType(text: string): QType {
  const found = text === "qfloat8" ? qfloat8 : QTYPES.find(({ name }) => name === text);
  if (found !== undefined) return found;
  const words = ["qint8", "qint4", "qint2", "qfloat8", ...QTYPES.filter(({ kind }) => kind === "float").map(({ name }) => name)];
  const near = QTYPES.find(({ diffusersName }) => diffusersName === text)?.diffusersName;
  const word = near === undefined ? nearestWord(text, words) : `q${near}`;
  throw new UsageError(`qtype must be one of ${words.join(", ")}, got ${JSON.stringify(text)}`, {
    hint: word === undefined ? undefined : `did you mean ${word}?`,
  });
}
