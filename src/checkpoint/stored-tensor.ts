/**
 * A tensor as a checkpoint stores it: where its bytes lie, not the bytes. Everything up to the engine passes these around, so that memory
 * holds only what is being worked on.
 */
import { CheckpointError } from "../errors.ts";
import type { DType } from "../tensor/dtype.ts";
import type { ByteSource } from "./byte-source.ts";

/** A tensor in a file; its bytes are little-endian and row-major. */
export interface StoredTensor {
  /** Full name in the checkpoint: "transformer_blocks.3.attn1.to_q.weight". */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly source: ByteSource;
  /** Where the tensor begins, counted from the beginning of the source. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * Reads a whole tensor into fresh memory.
 *
 * Errors: CheckpointError when the file became shorter; DownloadError over HTTP; CancelledError.
 */
export async function readTensor(tensor: StoredTensor, signal?: AbortSignal): Promise<Uint8Array> {
  const bytes = await tensor.source.read(tensor.offset, tensor.sizeBytes, signal);
  if (bytes.length !== tensor.sizeBytes) {
    throw new CheckpointError(`tensor ${quote(tensor.name)} has ${bytes.length} bytes, expected ${tensor.sizeBytes}`, {
      where: tensor.source.name,
    });
  }
  return bytes;
}

/** Rows of a tensor as a tensor of their own, still in the file: those at [first, first + count) of axis 0. */
export function rowsOf(tensor: StoredTensor, first: number, count: number): StoredTensor {
  const rowBytes = tensor.sizeBytes / (tensor.shape[0] as number);
  return {
    ...tensor,
    name: `${tensor.name}[${first}:${first + count}]`,
    shape: [count, ...tensor.shape.slice(1)],
    offset: tensor.offset + first * rowBytes,
    sizeBytes: count * rowBytes,
  };
}

/** Writes a name from a file into a message: quoted, escaped, and cut where it would flood the terminal. */
export function quote(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}

/** Writes a shape as [1152, 4608]. */
export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}
