/**
 * Freezing: the marked weights of a part are quantized, tensor by tensor, into one file of the execution cache, which then stands in for
 * the originals. The file has Quanto's own layout, and is found again by what it was made from.
 */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import path from "node:path";
import { openFile } from "../checkpoint/file-source-node.ts";
import { readSafetensors, type SafetensorsFile } from "../checkpoint/safetensors.ts";
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { QuantizeTensor } from "../quant/write-tensors-node.ts";
import { writeTensorFile } from "../quant/write-tensors-node.ts";
import { cachedWeightFile } from "../runtime/weight-cache-node.ts";

/** Changes when the same input would give other bytes. */
const LAYOUT_VERSION = 1;

/** How freezing reports and stops. */
export interface FreezeOptions {
  signal?: AbortSignal | undefined;
  /** Told of the bytes that have been read, of all that are to be read; not called when the cache has the file. */
  onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** A frozen part's file, open; the caller closes it. */
export interface FrozenFile {
  readonly tensors: SafetensorsFile["tensors"];
  close(): Promise<void>;
}

/**
 * Quantizes weights into the execution cache, or finds them there.
 *
 * Errors: CheckpointError for a weight that is not finite; FileError when the cache cannot be written; CancelledError.
 */
export async function freezeTensors(plan: readonly QuantizeTensor[], options: FreezeOptions): Promise<FrozenFile> {
  const key = await keyOf(plan);
  const file = await cachedWeightFile(key, (target) => writeTensorFile(target, plan, { ...options, metadata: { format: "pt" } }));
  const source = await openFile(file);
  try {
    const { tensors } = await readSafetensors(source, options.signal);
    return { tensors, close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** A hash of the files that weights lie in (place, size, time of change), the weights themselves and what is to become of them. */
async function keyOf(plan: readonly QuantizeTensor[]): Promise<string> {
  const sources = new Map<StoredTensor["source"], string>();
  for (const { stored } of plan) if (!sources.has(stored.source)) sources.set(stored.source, await identityOf(stored));
  const entries = plan.map(({ stored, quantize }) => [
    sources.get(stored.source),
    stored.name,
    stored.offset,
    stored.dtype,
    stored.shape,
    quantize.qtype.name,
    quantize.dtype,
    quantize.optimizer ?? "",
  ]);
  return createHash("sha256")
    .update(JSON.stringify([LAYOUT_VERSION, entries]))
    .digest("hex")
    .slice(0, 40);
}

async function identityOf({ source }: StoredTensor): Promise<string> {
  if (source.file === undefined) return `${source.name}:${source.sizeBytes}`;
  const file = path.join(source.file.folder, source.file.fileName);
  const { mtimeMs } = await stat(file);
  return `${file}:${source.sizeBytes}:${mtimeMs}`;
}
