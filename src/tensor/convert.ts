/**
 * Numbers as a checkpoint stores them, to and from float32, bit for bit as torch casts them (round to nearest, ties to even).
 *
 * Everything works on bit patterns in typed arrays: 16- and 8-bit floats are looked up in tables of float32 patterns, encoding is integer
 * arithmetic on the float32 pattern. Bytes are little-endian, as safetensors has them and as every machine that runs Node's CPU engines.
 *
 * Source: torch c10/util/{Half,BFloat16,Float8_*}.h@2.13.0; differs: a bfloat16 NaN keeps its sign and becomes 0x7fc0 / 0xffc0, where
 * torch's answer depends on the instruction set.
 */
import { type DType, elementSizeBytes } from "./dtype.ts";

/** The dtypes that float32 numbers can be rounded to. */
export type FloatDType = Extract<DType, `float${string}` | "bfloat16">;

/** How a small float spells its exponent, its overflow and its NaN. */
export interface SmallFloat {
  readonly mantissaBits: number;
  readonly bias: number;
  /** Sign bit's place. */
  readonly signShift: number;
  /** Code of the largest finite number. */
  readonly maxCode: number;
  /** What a larger number, or infinity, becomes (before the sign); torch saturates e4m3fn. */
  readonly overflowCode: number;
  /** What a NaN becomes (before the sign). */
  readonly nanCode: number;
  /** One zero and one NaN: neither carries a sign. */
  readonly unsigned: boolean;
}

const FLOAT16: SmallFloat = { ...signed(16, 10, 15), maxCode: 0x7bff, overflowCode: 0x7c00, nanCode: 0x7e00 };
/** The formats of 8-bit floats. */
export const FLOAT8: Record<"float8_e4m3fn" | "float8_e4m3fnuz" | "float8_e5m2" | "float8_e5m2fnuz", SmallFloat> = {
  float8_e4m3fn: { ...signed(8, 3, 7), maxCode: 0x7e, overflowCode: 0x7e, nanCode: 0x7f },
  float8_e4m3fnuz: { ...signed(8, 3, 8), maxCode: 0x7f, overflowCode: 0x80, nanCode: 0x80, unsigned: true },
  float8_e5m2: { ...signed(8, 2, 15), maxCode: 0x7b, overflowCode: 0x7c, nanCode: 0x7f },
  float8_e5m2fnuz: { ...signed(8, 2, 16), maxCode: 0x7f, overflowCode: 0x80, nanCode: 0x80, unsigned: true },
};

function signed(bits: number, mantissaBits: number, bias: number) {
  return { mantissaBits, bias, signShift: bits - 1, unsigned: false };
}

/**
 * Widens stored numbers to float32; integers and float64 are rounded once, to the nearest, and a bool becomes 0 or 1.
 *
 * A float32 input that lies on a multiple of 4 is not copied: the result is a view of `bytes`.
 */
export function toFloat32(bytes: Uint8Array, dtype: DType): Float32Array {
  const { buffer, byteOffset, byteLength } = alignBytes(bytes, elementSizeBytes(dtype));
  const count = byteLength / elementSizeBytes(dtype);
  switch (dtype) {
    case "float32":
      return new Float32Array(buffer, byteOffset, count);
    case "float64":
      return new Float32Array(new Float64Array(buffer, byteOffset, count));
    case "float16":
      return lookUp(new Uint16Array(buffer, byteOffset, count), decodeTable("float16"));
    case "bfloat16":
      return widenBfloat16(new Uint16Array(buffer, byteOffset, count));
    case "float8_e4m3fn":
    case "float8_e4m3fnuz":
    case "float8_e5m2":
    case "float8_e5m2fnuz":
      return lookUp(new Uint8Array(buffer, byteOffset, count), decodeTable(dtype));
    case "int64":
      return widenBigInts(new BigInt64Array(buffer, byteOffset, count));
    case "uint64":
      return widenBigInts(new BigUint64Array(buffer, byteOffset, count));
    case "int32":
      return new Float32Array(new Int32Array(buffer, byteOffset, count));
    case "uint32":
      return new Float32Array(new Uint32Array(buffer, byteOffset, count));
    case "int16":
      return new Float32Array(new Int16Array(buffer, byteOffset, count));
    case "uint16":
      return new Float32Array(new Uint16Array(buffer, byteOffset, count));
    case "int8":
      return new Float32Array(new Int8Array(buffer, byteOffset, count));
    case "uint8":
      return new Float32Array(new Uint8Array(buffer, byteOffset, count));
    case "bool":
      return Float32Array.from(new Uint8Array(buffer, byteOffset, count), (byte) => (byte === 0 ? 0 : 1));
    default:
      return dtype satisfies never;
  }
}

/** Rounds float32 numbers to a floating dtype and returns its bytes, in fresh memory. */
export function fromFloat32(values: Float32Array, dtype: FloatDType): Uint8Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  switch (dtype) {
    case "float32":
      return bytesOf(values.slice());
    case "float64":
      return bytesOf(new Float64Array(values));
    case "float16":
      return bytesOf(encodeSmall(bits, new Uint16Array(bits.length), FLOAT16));
    case "bfloat16":
      return bytesOf(narrowBfloat16(bits));
    default:
      return encodeSmall(bits, new Uint8Array(bits.length), FLOAT8[dtype]);
  }
}

/** Rounds float32 numbers to what a dtype can hold, keeping them as float32, in place; returns `values`. */
export function roundToDType(values: Float32Array, dtype: FloatDType): Float32Array {
  if (dtype === "float32" || dtype === "float64") return values;
  values.set(toFloat32(fromFloat32(values, dtype), dtype));
  return values;
}

/** Returns the bytes at an offset that a typed array of `elementBytes` accepts: themselves if it does already, else a copy. */
export function alignBytes(bytes: Uint8Array, elementBytes: number): Uint8Array {
  return bytes.byteOffset % elementBytes === 0 ? bytes : bytes.slice();
}

function bytesOf(array: Uint16Array<ArrayBuffer> | Float32Array<ArrayBufferLike> | Float64Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength);
}

function lookUp(codes: Uint8Array | Uint16Array, table: Uint32Array): Float32Array {
  const bits = new Uint32Array(codes.length);
  for (let i = 0; i < codes.length; i++) bits[i] = table[codes[i] as number] as number;
  return new Float32Array(bits.buffer);
}

const tables = new Map<FloatDType, Uint32Array>();

/** float32 pattern of every code; 256 KiB for float16, 1 KiB for a float8, made on first use. */
function decodeTable(dtype: "float16" | keyof typeof FLOAT8): Uint32Array {
  let table = tables.get(dtype);
  if (table === undefined) {
    const format = dtype === "float16" ? FLOAT16 : FLOAT8[dtype];
    table = Uint32Array.from({ length: 2 << format.signShift }, (_, code) => decodeSmall(code, format));
    tables.set(dtype, table);
  }
  return table;
}

function decodeSmall(code: number, format: SmallFloat): number {
  const { mantissaBits, bias, signShift, maxCode, nanCode, unsigned } = format;
  const sign = (code >>> signShift) << 31;
  const magnitude = code & ((1 << signShift) - 1);
  if (unsigned && code === nanCode) return 0x7fc00000;
  if (magnitude > maxCode) {
    const isInfinity = !unsigned && magnitude === maxCode + 1 && magnitude !== nanCode;
    const payload = (magnitude << (23 - mantissaBits)) & 0x7fffff;
    return (isInfinity ? sign | 0x7f800000 : sign | 0x7fc00000 | payload) >>> 0;
  }
  const exponent = magnitude >>> mantissaBits;
  const mantissa = magnitude & ((1 << mantissaBits) - 1);
  const value =
    exponent === 0 ? mantissa * 2 ** (1 - bias - mantissaBits) : (mantissa + (1 << mantissaBits)) * 2 ** (exponent - bias - mantissaBits);
  return (sign | (new Uint32Array(Float32Array.of(value).buffer)[0] as number)) >>> 0;
}

function encodeSmall<A extends Uint8Array | Uint16Array>(bits: Uint32Array, out: A, format: SmallFloat): A {
  const { mantissaBits, bias, signShift, maxCode, overflowCode, nanCode, unsigned } = format;
  const shift = 23 - mantissaBits;
  const half = (1 << (shift - 1)) - 1;
  for (let i = 0; i < bits.length; i++) {
    const pattern = bits[i] as number;
    const magnitude = pattern & 0x7fffffff;
    const exponent = (magnitude >>> 23) - 127 + bias;
    let code: number;
    if (magnitude > 0x7f800000) {
      code = mantissaBits === 10 ? nanCode | ((magnitude & 0x7fffff) >>> shift) : nanCode;
    } else if (exponent >= 1) {
      const rebased = (exponent << 23) | (magnitude & 0x7fffff);
      code = (rebased + half + ((rebased >>> shift) & 1)) >>> shift;
      if (code > maxCode) code = overflowCode;
    } else {
      code = roundSubnormal((magnitude & 0x7fffff) | 0x800000, shift + 1 - exponent);
    }
    if (!unsigned) code |= (pattern >>> 31) << signShift;
    else if (code !== 0 && code !== nanCode) code |= (pattern >>> 31) << signShift;
    out[i] = code;
  }
  return out;
}

/** significand / 2^shift, to nearest, ties to even; the significand has 24 bits. */
function roundSubnormal(significand: number, shift: number): number {
  if (shift > 24) return 0;
  const half = 2 ** (shift - 1) - 1;
  return (significand + half + ((significand >>> shift) & 1)) >>> shift;
}

function widenBfloat16(codes: Uint16Array): Float32Array {
  const bits = new Uint32Array(codes.length);
  for (let i = 0; i < codes.length; i++) bits[i] = (codes[i] as number) << 16;
  return new Float32Array(bits.buffer);
}

function narrowBfloat16(bits: Uint32Array): Uint16Array<ArrayBuffer> {
  const out = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const pattern = bits[i] as number;
    const notANumber = (pattern & 0x7fffffff) > 0x7f800000;
    out[i] = notANumber ? ((pattern >>> 31) << 15) | 0x7fc0 : (pattern + 0x7fff + ((pattern >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** A double holds 53 bits, so a longer integer keeps the rest as one sticky bit: then the only rounding is the one to float32. */
function widenBigInts(values: BigInt64Array | BigUint64Array): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as bigint;
    const near = Number(value);
    out[i] = Number.isSafeInteger(near) ? near : Number((value & 0x7ffn) === 0n ? value : ((value >> 11n) | 1n) << 11n);
  }
  return out;
}
