/**
 * Looks for numbers in a checkpoint that no computation survives. Used after a run has gone wrong, to name the tensor, so it may take its
 * time but not memory: it reads in pieces and looks at bit patterns only.
 */
import { alignBytes } from "../tensor/convert.ts";
import { type DType, elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { throwIfCancelled } from "./cancel.ts";
import type { StoredTensor } from "./stored-tensor.ts";

/** A number that is not finite, and where it stands. */
export interface NonFinite {
  readonly tensor: StoredTensor;
  /** Place in the tensor, row-major. */
  readonly index: number;
  readonly kind: "NaN" | "infinity";
}

/** How to scan. */
export interface NanScanOptions {
  /** Bytes held at a time; a multiple of 8. */
  readonly chunkBytes?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Returns the first NaN or infinity of the given tensors, or undefined; integers are passed over.
 *
 * Errors: CheckpointError or DownloadError from reading; CancelledError.
 */
export async function findNonFinite(tensors: Iterable<StoredTensor>, options: NanScanOptions = {}): Promise<NonFinite | undefined> {
  const { chunkBytes = 4 * 2 ** 20, signal } = options;
  for (const tensor of tensors) {
    const pattern = PATTERNS[tensor.dtype];
    if (pattern === undefined || elementCount(tensor.shape) === 0) continue;
    for (let done = 0; done < tensor.sizeBytes; done += chunkBytes) {
      throwIfCancelled(signal);
      const bytes = await tensor.source.read(tensor.offset + done, Math.min(chunkBytes, tensor.sizeBytes - done), signal);
      const found = scan(bytes, tensor.dtype, pattern);
      if (found !== undefined) return { tensor, index: done / elementSizeBytes(tensor.dtype) + found.index, kind: found.kind };
    }
  }
  return undefined;
}

/** A code is not finite when its bits under `mask` equal `value`; of a float64 the upper half is looked at. */
interface Pattern {
  readonly mask: number;
  readonly value: number;
  /** Code of +infinity, if the dtype has one. */
  readonly infinity?: number;
}

const PATTERNS: Partial<Record<DType, Pattern>> = {
  float64: { mask: 0x7ff00000, value: 0x7ff00000, infinity: 0x7ff00000 },
  float32: { mask: 0x7f800000, value: 0x7f800000, infinity: 0x7f800000 },
  float16: { mask: 0x7c00, value: 0x7c00, infinity: 0x7c00 },
  bfloat16: { mask: 0x7f80, value: 0x7f80, infinity: 0x7f80 },
  float8_e5m2: { mask: 0x7c, value: 0x7c, infinity: 0x7c },
  float8_e4m3fn: { mask: 0x7f, value: 0x7f },
  float8_e4m3fnuz: { mask: 0xff, value: 0x80 },
  float8_e5m2fnuz: { mask: 0xff, value: 0x80 },
};

function scan(bytes: Uint8Array, dtype: DType, pattern: Pattern): { index: number; kind: "NaN" | "infinity" } | undefined {
  const { mask, value, infinity } = pattern;
  const size = elementSizeBytes(dtype);
  const { buffer, byteOffset, byteLength } = alignBytes(bytes, Math.min(size, 4)) as Uint8Array<ArrayBuffer>;
  const Codes = size === 1 ? Uint8Array : size === 2 ? Uint16Array : Uint32Array;
  const codes = new Codes(buffer, byteOffset, byteLength / Codes.BYTES_PER_ELEMENT);
  const step = size === 8 ? 2 : 1;
  const signBit = 1 << (8 * Codes.BYTES_PER_ELEMENT - 1);
  for (let i = step - 1; i < codes.length; i += step) {
    const code = codes[i] as number;
    if ((code & mask) !== value) continue;
    const isInfinity = (code & ~signBit) === infinity && (step === 1 || codes[i - 1] === 0);
    return { index: (i - step + 1) / step, kind: isInfinity ? "infinity" : "NaN" };
  }
  return undefined;
}
