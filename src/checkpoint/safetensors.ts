/**
 * Reads the header of a safetensors file: 8 bytes of length, that much JSON, then the tensors' bytes without a gap.
 *
 * A header is untrusted. It is read with a cursor that builds only what is listed here: memory stays below five times the header's length
 * (at most 100 MB, the format's limit) plus 150 MB, whatever the bytes say. A file that passes has every tensor inside it, none over
 * another, none missing.
 *
 * Source: huggingface/safetensors safetensors/src/tensor.rs@0.8.0; differs: refuses a header that does not begin with "{", repeated names,
 * entries written as lists, integers above 2^53 and more than 100,000 members; F4, F6_*, F8_E8M0 and C64 are refused by name.
 */
import { CheckpointError, UnsupportedError } from "../errors.ts";
import { type DType, elementSizeBytes } from "../tensor/dtype.ts";
import type { ByteSource } from "./byte-source.ts";
import { JsonCursor, JsonFault } from "./json-cursor.ts";
import { quote, type StoredTensor, shapeText } from "./stored-tensor.ts";

/** The format's own limit on a header. */
export const MAX_HEADER_BYTES = 100_000_000;
/** torch's limit. */
const MAX_RANK = 64;
/** Enough for nearly every header, so that a file costs one read. */
const FIRST_READ_BYTES = 128 * 1024;

/** The format's names of dtypes, for every dtype that halftone has. */
export const SAFETENSORS_DTYPES = {
  BOOL: "bool",
  U8: "uint8",
  I8: "int8",
  F8_E5M2: "float8_e5m2",
  F8_E4M3: "float8_e4m3fn",
  F8_E4M3FNUZ: "float8_e4m3fnuz",
  F8_E5M2FNUZ: "float8_e5m2fnuz",
  I16: "int16",
  U16: "uint16",
  F16: "float16",
  BF16: "bfloat16",
  I32: "int32",
  U32: "uint32",
  F32: "float32",
  F64: "float64",
  I64: "int64",
  U64: "uint64",
} as const satisfies Record<string, DType>;

const REFUSED_DTYPES = ["F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "C64"];

/** What a safetensors file holds. */
export interface SafetensorsFile {
  /** By name, in the order of their bytes. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** The free texts of `__metadata__`. */
  readonly metadata: ReadonlyMap<string, string>;
}

interface Entry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/**
 * Reads and checks a file's header; the tensors stay on disk.
 *
 * Errors: CheckpointError when the file is not sound; UnsupportedError for a dtype that halftone does not read.
 */
export async function readSafetensors(source: ByteSource, signal?: AbortSignal): Promise<SafetensorsFile> {
  const first = await source.read(0, Math.min(source.sizeBytes, FIRST_READ_BYTES), signal);
  const length = headerLength(first, source.sizeBytes, source.name);
  const rest = 8 + length - first.length;
  const header = new Uint8Array(first.subarray(8, 8 + length));
  if (rest <= 0) return parseHeader(header, source);
  const whole = new Uint8Array(length);
  whole.set(header);
  whole.set(await source.read(first.length, rest, signal), header.length);
  return parseHeader(whole, source);
}

function headerLength(first: Uint8Array, fileSizeBytes: number, where: string): number {
  if (fileSizeBytes < 8) {
    throw new CheckpointError(`the file has ${fileSizeBytes} bytes, expected a safetensors file, which has at least 8`, {
      where,
      hint: fetchAgain,
    });
  }
  const length = new DataView(first.buffer, first.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw new CheckpointError(`the header says it has ${length} bytes, expected at most ${MAX_HEADER_BYTES}`, {
      where,
      hint: "this may not be a safetensors file",
    });
  }
  if (8 + Number(length) > fileSizeBytes) {
    throw new CheckpointError(`the header says it has ${length} bytes, but the file has ${fileSizeBytes}`, { where, hint: fetchAgain });
  }
  return Number(length);
}

const fetchAgain = "the file was cut short or damaged: get it again";

/**
 * Checks a header that has been read and lists its tensors.
 *
 * Errors: as readSafetensors.
 */
export function parseHeader(header: Uint8Array, source: ByteSource): SafetensorsFile {
  const { entries, metadata } = readEntries(headerText(header, source.name), source.name);
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  const dataStart = 8 + header.length;
  checkCover(entries, source.sizeBytes - dataStart, source.name);
  const tensors = entries.map(({ name, dtype, shape, begin, end }): [string, StoredTensor] => {
    return [name, { name, dtype, shape, source, offset: dataStart + begin, sizeBytes: end - begin }];
  });
  return { tensors: new Map(tensors), metadata };
}

function headerText(header: Uint8Array, where: string): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(header);
  } catch (cause) {
    throw new CheckpointError("the header is not UTF-8 text", { where, hint: "this may not be a safetensors file", cause });
  }
  if (!text.startsWith("{")) {
    const got = text === "" ? "nothing" : JSON.stringify(text.slice(0, 1));
    throw new CheckpointError(`the header begins with ${got}, expected "{"`, { where, hint: "this may not be a safetensors file" });
  }
  return text;
}

function readEntries(text: string, where: string): { entries: Entry[]; metadata: Map<string, string> } {
  const cursor = new JsonCursor(text);
  const entries: Entry[] = [];
  let metadata = new Map<string, string>();
  let subject = "the header";
  try {
    cursor.object((name) => {
      subject = name === "__metadata__" ? "the header's __metadata__" : `the header's entry ${quote(name)}`;
      if (name === "__metadata__") metadata = readMetadata(cursor);
      else entries.push(readEntry(cursor, name, where));
      subject = "the header";
    });
    cursor.end();
  } catch (cause) {
    if (!(cause instanceof JsonFault)) throw cause;
    throw new CheckpointError(`${subject} is not sound at character ${cause.position}: ${cause.message}`, {
      where,
      hint: fetchAgain,
      cause,
    });
  }
  return { entries, metadata };
}

function readMetadata(cursor: JsonCursor): Map<string, string> {
  const metadata = new Map<string, string>();
  if (!cursor.skipNull()) cursor.object((key) => metadata.set(key, cursor.string()));
  return metadata;
}

function readEntry(cursor: JsonCursor, name: string, where: string): Entry {
  let dtype: DType | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  cursor.object((key) => {
    if (key === "dtype") dtype = dtypeOf(cursor.string(), name, where);
    else if (key === "shape") shape = readIntegers(cursor, MAX_RANK, `tensor ${quote(name)} has more than ${MAX_RANK} axes`, where);
    else if (key === "data_offsets") offsets = readIntegers(cursor, 2, `tensor ${quote(name)} has more than 2 data_offsets`, where);
    else cursor.skip();
  });
  const missing = dtype === undefined ? "dtype" : shape === undefined ? "shape" : offsets === undefined ? "data_offsets" : undefined;
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    throw new CheckpointError(`tensor ${quote(name)} has no ${missing} in the header`, { where });
  }
  const [begin, end] = offsets;
  if (begin === undefined || end === undefined) {
    throw new CheckpointError(`tensor ${quote(name)} has ${offsets.length} data_offsets, expected 2`, { where });
  }
  if (begin > end)
    throw new CheckpointError(`tensor ${quote(name)} begins at byte ${begin} of the data and ends before, at ${end}`, { where });
  checkSize(name, dtype, shape, end - begin, where);
  return { name, dtype, shape, begin, end };
}

function readIntegers(cursor: JsonCursor, most: number, tooMany: string, where: string): number[] {
  const values: number[] = [];
  cursor.array(() => {
    if (values.length === most) throw new CheckpointError(tooMany, { where });
    values.push(cursor.integer());
  });
  return values;
}

function dtypeOf(text: string, name: string, where: string): DType {
  if (Object.hasOwn(SAFETENSORS_DTYPES, text)) return SAFETENSORS_DTYPES[text as keyof typeof SAFETENSORS_DTYPES];
  if (REFUSED_DTYPES.includes(text)) {
    throw new UnsupportedError(`tensor ${quote(name)} has dtype ${text}, which halftone does not read`, {
      where,
      hint: `it reads ${Object.keys(SAFETENSORS_DTYPES).join(", ")}`,
    });
  }
  throw new CheckpointError(`tensor ${quote(name)} has the unknown dtype ${quote(text)}`, {
    where,
    hint: `the format has ${Object.keys(SAFETENSORS_DTYPES).join(", ")}`,
  });
}

function checkSize(name: string, dtype: DType, shape: readonly number[], sizeBytes: number, where: string): void {
  let elements = 1;
  for (const dim of shape) {
    elements *= dim;
    if (!Number.isSafeInteger(elements * 8)) {
      throw new CheckpointError(`tensor ${quote(name)} has shape ${shapeText(shape)}, more elements than any file can hold`, { where });
    }
  }
  const wanted = elements * elementSizeBytes(dtype);
  if (wanted !== sizeBytes) {
    throw new CheckpointError(`tensor ${quote(name)} has ${sizeBytes} bytes, expected ${wanted} for ${dtype} ${shapeText(shape)}`, {
      where,
    });
  }
}

/** The format allows neither gaps nor overlaps, so the sorted tensors must cover the data exactly. */
function checkCover(entries: readonly Entry[], dataBytes: number, where: string): void {
  let covered = 0;
  let before = "";
  for (const { name, begin, end } of entries) {
    if (end > dataBytes) {
      throw new CheckpointError(`tensor ${quote(name)} ends at byte ${end} of the data, of which the file has ${Math.max(0, dataBytes)}`, {
        where,
        hint: fetchAgain,
      });
    }
    if (begin < covered) {
      throw new CheckpointError(
        `tensor ${quote(name)} (bytes ${begin} to ${end} of the data) overlaps tensor ${before}, which ends at ${covered}`,
        {
          where,
        },
      );
    }
    if (begin > covered) {
      throw new CheckpointError(`bytes ${covered} to ${begin} of the data belong to no tensor, before tensor ${quote(name)}`, { where });
    }
    covered = end;
    before = quote(name);
  }
  if (covered < dataBytes) {
    throw new CheckpointError(`the file has ${dataBytes - covered} bytes after its last tensor, expected none`, {
      where,
      hint: fetchAgain,
    });
  }
}
