/**
 * Lays tensors out as a safetensors file, byte for byte as the Python library does: wider dtypes first, then by name; a header padded with
 * spaces to a multiple of 8. The layout needs names, dtypes and shapes only, so that a large file can be written tensor by tensor.
 *
 * Source: huggingface/safetensors safetensors/src/tensor.rs@0.8.0; differs: texts of `__metadata__` keep their order, which Python draws by
 * chance.
 */
import { UsageError } from "../errors.ts";
import { type DType, elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { MAX_HEADER_BYTES, SAFETENSORS_DTYPES } from "./safetensors.ts";
import { quote, shapeText } from "./stored-tensor.ts";

/** What the layout has to know of a tensor. */
export interface TensorSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Where a tensor goes: the bytes from `offset`, counted from the beginning of the file. */
export interface PlacedTensor extends TensorSpec {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** A file's layout: write `header`, then the tensors in this order, without gaps. */
export interface SafetensorsLayout {
  readonly header: Uint8Array<ArrayBuffer>;
  readonly tensors: readonly PlacedTensor[];
  readonly sizeBytes: number;
}

/** A tensor with its bytes, little-endian and row-major. */
export interface TensorBytes extends TensorSpec {
  readonly bytes: Uint8Array;
}

// Python sorts by the place of a dtype in a list that goes from narrow to wide: the order of these keys.
const CODES = new Map(Object.entries(SAFETENSORS_DTYPES).map(([code, dtype], rank) => [dtype as DType, { code, rank }]));

/**
 * Computes a file's header and each tensor's place.
 *
 * Errors: UsageError for a name that is taken twice or cannot be written, a shape that is not one, a header above 100 MB.
 */
export function layoutSafetensors(specs: readonly TensorSpec[], metadata: Readonly<Record<string, string>> = {}): SafetensorsLayout {
  checkSpecs(specs);
  const sorted = [...specs].sort((a, b) => codeOf(b.dtype).rank - codeOf(a.dtype).rank || compareCodePoints(a.name, b.name));
  const members: string[] = [];
  if (Object.keys(metadata).length > 0) members.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let end = 0;
  const ends = sorted.map(({ name, dtype, shape }) => {
    const begin = end;
    end += elementCount(shape) * elementSizeBytes(dtype);
    members.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype: codeOf(dtype).code, shape, data_offsets: [begin, end] })}`);
    return end;
  });
  const header = encodeHeader(`{${members.join(",")}}`);
  const tensors = sorted.map(({ name, dtype, shape }, i) => {
    const begin = ends[i - 1] ?? 0;
    return { name, dtype, shape, offset: header.length + begin, sizeBytes: (ends[i] as number) - begin };
  });
  return { header, tensors, sizeBytes: header.length + end };
}

/**
 * Returns a whole file as bytes, for what is small: latents, a test's model.
 *
 * Errors: as layoutSafetensors, and when a tensor's bytes do not fit its shape.
 */
export function encodeSafetensors(
  tensors: readonly TensorBytes[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const layout = layoutSafetensors(tensors, metadata);
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor.bytes]));
  const file = new Uint8Array(layout.sizeBytes);
  file.set(layout.header);
  for (const { name, dtype, shape, offset, sizeBytes } of layout.tensors) {
    const bytes = byName.get(name) as Uint8Array;
    if (bytes.length !== sizeBytes) {
      throw new UsageError(`tensor ${quote(name)} has ${bytes.length} bytes, expected ${sizeBytes} for ${dtype} ${shapeText(shape)}`);
    }
    file.set(bytes, offset);
  }
  return file;
}

function encodeHeader(json: string): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) throw new UsageError(`the header would have ${length} bytes, expected at most ${MAX_HEADER_BYTES}`);
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, 8);
  return header;
}

function checkSpecs(specs: readonly TensorSpec[]): void {
  const names = new Set<string>();
  for (const { name, shape } of specs) {
    if (name === "__metadata__" || /\p{Surrogate}/u.test(name)) throw new UsageError(`a tensor cannot have the name ${quote(name)}`);
    if (names.has(name)) throw new UsageError(`two tensors have the name ${quote(name)}`);
    names.add(name);
    if (shape.some((dim) => !Number.isSafeInteger(dim) || dim < 0)) {
      throw new UsageError(`tensor ${quote(name)} has shape ${shapeText(shape)}, expected integers of 0 or more`);
    }
  }
}

function codeOf(dtype: DType): { code: string; rank: number } {
  return CODES.get(dtype) as { code: string; rank: number };
}

/** Rust compares UTF-8 bytes, which is the order of code points; JavaScript's own order differs beyond U+FFFF. */
function compareCodePoints(a: string, b: string): number {
  const left = [...a];
  const right = [...b];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = (left[i]?.codePointAt(0) as number) - (right[i]?.codePointAt(0) as number);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
