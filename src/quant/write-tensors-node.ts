/**
 * Streams tensors into safetensors files: those to be quantized block by block, on all cores; the others in pieces, rounded to another
 * dtype on the way if need be. JavaScript holds a few blocks, whatever the size of a tensor or of the file, and wherever the bytes come
 * from (a disk, a server that is asked for ranges). Only hqq, which looks at a weight as a whole, holds one whole weight.
 */
import { throwIfCancelled } from "../checkpoint/cancel.ts";
import type { TensorSpec } from "../checkpoint/safetensors-layout.ts";
import { SafetensorsWriter, type TensorSink } from "../checkpoint/safetensors-writer-node.ts";
import { readTensor, type StoredTensor } from "../checkpoint/stored-tensor.ts";
import { HalftoneError } from "../errors.ts";
import { type FloatDType, fromFloat32, toFloat32 } from "../tensor/convert.ts";
import { type ComputeDType, type DType, elementSizeBytes, isFloat } from "../tensor/dtype.ts";
import { releaseMemory } from "../tensor/releasable.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { QType } from "./qtype.ts";
import { defaultThreads, type QuantizePool, quantizePool } from "./quantize-pool-node.ts";
import { placeParameters, type QuantizedTensor, type QuantizedWeight, quantizeWeight } from "./quantize-weight.ts";
import { layOutWeight, type OptimizerName, splitWeight, type WeightBlock, type WeightLayout } from "./weight-layout.ts";

/** A tensor to be copied; `saveAs` rounds floats to another dtype, and leaves everything else as it is. */
export interface CopyTensor {
  readonly stored: StoredTensor;
  readonly saveAs?: DType | undefined;
}

/** A weight to be quantized: `<module>.weight` becomes `<module>.weight._data` and so on. */
export interface QuantizeTensor {
  readonly stored: StoredTensor;
  readonly quantize: { readonly qtype: QType; readonly dtype: ComputeDType; readonly optimizer?: OptimizerName | undefined };
}

/** A small tensor that is in memory. */
export interface GivenTensor extends TensorSpec {
  readonly bytes: Uint8Array;
}

/** What becomes of a tensor. */
export type PlannedTensor = CopyTensor | QuantizeTensor | GivenTensor;

/** How to write. */
export interface WriteTensorsOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told of the bytes that have been read, of all that are to be read. */
  readonly onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
  /** Worker threads; 0 works in the calling thread. Default: one a core where there is enough to do. */
  readonly threads?: number | undefined;
}

/** A planned tensor with everything that has to be known before its bytes are: the tensors that it becomes. */
export interface PreparedTensor {
  readonly planned: PlannedTensor;
  readonly outputs: readonly TensorSpec[];
  readonly layout?: WeightLayout;
  /** What had to be quantized to know its shape: a convolution under hqq, small by its nature. */
  readonly ready?: QuantizedWeight;
}

/** 2 MiB of float16: less costs more messages, more brings nothing. */
const WEIGHTS_PER_BLOCK = 2 ** 20;
/** Bytes of blocks that are being read, quantized or written. */
const BYTES_IN_FLIGHT = 24 * 2 ** 20;
/** Below this many weights, starting threads takes longer than the work. */
const THREADS_FROM = 16 * 2 ** 20;

/**
 * Finds out which tensors a plan makes, before anything is written.
 *
 * Errors: those of layOutWeight; for hqq also those of reading.
 */
export async function prepareTensors(plan: readonly PlannedTensor[], signal?: AbortSignal): Promise<PreparedTensor[]> {
  const prepared: PreparedTensor[] = [];
  for (const planned of plan) prepared.push(await prepare(planned, signal));
  return prepared;
}

/**
 * Writes prepared tensors; the sink is neither finished nor aborted.
 *
 * Errors: CheckpointError, DownloadError and CancelledError of reading; CheckpointError for a weight that is not finite; FileError.
 */
export async function writePrepared(
  sink: TensorSink,
  prepared: readonly PreparedTensor[],
  options: WriteTensorsOptions = {},
): Promise<void> {
  const totalBytes = prepared.reduce((sum, { planned }) => sum + ("stored" in planned ? planned.stored.sizeBytes : 0), 0);
  const weights = prepared.reduce((sum, { layout, ready }) => sum + (layout && !ready ? elementCount(layout.shape) : 0), 0);
  const pool = quantizePool(options.threads ?? (weights < THREADS_FROM ? 0 : defaultThreads()));
  const progress = { done: 0 };
  const context: Context = {
    sink,
    pool,
    signal: options.signal,
    read(bytes) {
      progress.done += bytes;
      options.onProgress?.(progress.done, totalBytes);
    },
  };
  try {
    await runAll(prepared, context);
  } finally {
    await pool.close();
  }
}

/**
 * Writes one file; it is whole or not there.
 *
 * Errors: as prepareTensors and writePrepared.
 */
export async function writeTensorFile(
  path: string,
  plan: readonly PlannedTensor[],
  options: WriteTensorsOptions & { readonly metadata?: Readonly<Record<string, string>> | undefined } = {},
): Promise<void> {
  const prepared = await prepareTensors(plan, options.signal);
  const writer = await SafetensorsWriter.create(
    path,
    prepared.flatMap(({ outputs }) => outputs),
    options.metadata,
  );
  try {
    await writePrepared(writer, prepared, options);
  } catch (error) {
    await writer.abort();
    throw error;
  }
  await writer.finish();
}

interface Context {
  readonly sink: TensorSink;
  readonly pool: QuantizePool;
  readonly signal: AbortSignal | undefined;
  /** Counts bytes that have been read. */
  read(bytes: number): void;
}

async function prepare(planned: PlannedTensor, signal: AbortSignal | undefined): Promise<PreparedTensor> {
  if ("bytes" in planned) return { planned, outputs: [planned] };
  const { stored } = planned;
  if (!("quantize" in planned)) return { planned, outputs: [{ name: stored.name, dtype: copyDType(planned), shape: stored.shape }] };
  const layout = layOutWeight({ name: stored.name, shape: stored.shape, ...planned.quantize });
  const named = ({ key, dtype, shape }: QuantizedTensor | WeightLayout["data"]) => ({ name: `${stored.name}.${key}`, dtype, shape });
  if (layout.optimizer === "hqq" && stored.shape.length > 2 && layout.groupSize === undefined) {
    const ready = quantizeWeight(await readTensor(stored, signal), layout, stored.dtype);
    return { planned, layout, ready, outputs: tensorsOf(ready).map(named) };
  }
  return { planned, layout, outputs: tensorsOf(layout).map(named) };
}

function tensorsOf<T>({ data, scale, shift }: { data: T; scale: T; shift: T | undefined }): T[] {
  return shift === undefined ? [data, scale] : [data, scale, shift];
}

function copyDType({ stored, saveAs = stored.dtype }: CopyTensor): DType {
  return isFloat(stored.dtype) && isFloat(saveAs) ? saveAs : stored.dtype;
}

/** A piece of work, and the bytes that it holds. */
interface Task {
  readonly bytes: number;
  run(): Promise<void>;
}

/** Runs tasks side by side as far as their bytes allow; the first failure stops the rest. */
async function runAll(prepared: readonly PreparedTensor[], context: Context): Promise<void> {
  const active = new Set<Promise<void>>();
  let held = 0;
  let failure: { readonly error: unknown } | undefined;
  for (const task of tasksOf(prepared, context)) {
    while (active.size > 0 && (held + task.bytes > BYTES_IN_FLIGHT || active.size > 2 * context.pool.threads)) await Promise.race(active);
    if (failure !== undefined) break;
    held += task.bytes;
    const running: Promise<void> = task
      .run()
      .catch((error: unknown) => {
        failure = { error: moreTelling(failure?.error, error) };
      })
      .finally(() => {
        held -= task.bytes;
        active.delete(running);
      });
    active.add(running);
  }
  await Promise.all(active);
  if (failure !== undefined) throw failure.error;
}

/** One failure makes others (a closed file): the first is the cause. */
function moreTelling(first: unknown, second: unknown): unknown {
  return first instanceof HalftoneError || first !== undefined ? first : second;
}

function* tasksOf(prepared: readonly PreparedTensor[], context: Context): Generator<Task> {
  for (const { planned, layout, ready } of prepared) {
    if ("bytes" in planned) yield { bytes: planned.bytes.length, run: () => context.sink.write(planned.name, 0, planned.bytes) };
    else if (ready !== undefined) yield { bytes: 0, run: () => writeReady(planned.stored, ready, context) };
    else if (layout !== undefined) yield* quantizeTasks(planned.stored, layout, context);
    else yield* copyTasks(planned, context);
  }
}

async function writeReady(stored: StoredTensor, ready: QuantizedWeight, { sink, read }: Context): Promise<void> {
  for (const { key, bytes } of tensorsOf(ready)) await sink.write(`${stored.name}.${key}`, 0, bytes);
  read(stored.sizeBytes);
}

function* copyTasks(planned: CopyTensor, { sink, signal, read }: Context): Generator<Task> {
  const { name, dtype, shape, source, offset } = planned.stored;
  const target = copyDType(planned);
  const [from, to] = [elementSizeBytes(dtype), elementSizeBytes(target)];
  const count = elementCount(shape);
  for (let first = 0; first < count; first += WEIGHTS_PER_BLOCK) {
    const elements = Math.min(WEIGHTS_PER_BLOCK, count - first);
    const run = async () => {
      const bytes = await source.read(offset + first * from, elements * from, signal);
      read(bytes.length);
      await sink.write(name, first * to, target === dtype ? bytes : fromFloat32(toFloat32(bytes, dtype), target as FloatDType));
      releaseMemory(bytes);
    };
    yield { bytes: elements * Math.max(from, to), run };
  }
}

/** Blocks of one weight; scales and shifts are gathered, and written with the last block. */
function* quantizeTasks(stored: StoredTensor, layout: WeightLayout, { sink, pool, signal, read }: Context): Generator<Task> {
  const parameters = (layout.shift === undefined ? [layout.scale] : [layout.scale, layout.shift]).map((tensor) => ({
    ...tensor,
    bytes: new Uint8Array(elementCount(tensor.shape) * elementSizeBytes(tensor.dtype)),
  }));
  const [scale, shift] = parameters as [QuantizedTensor, QuantizedTensor | undefined];
  const blocks = [...splitWeight(layout, WEIGHTS_PER_BLOCK)];
  let left = blocks.length;
  for (const block of blocks) {
    const run = async () => {
      const bytes = await readBlock(stored, layout, block, signal);
      read(bytes.length);
      const part = await pool.quantize(layout, block, bytes, stored.dtype);
      throwIfCancelled(signal);
      placeParameters(layout, block, part.scale, scale);
      if (part.shift !== undefined && shift !== undefined) placeParameters(layout, block, part.shift, shift);
      left -= 1;
      await sink.write(`${stored.name}.${layout.data.key}`, block.firstRow * layout.groupLength, part.data);
      releaseMemory(part.data);
      if (left === 0) for (const { key, bytes } of parameters.splice(0)) await sink.write(`${stored.name}.${key}`, 0, bytes);
    };
    const weights = block.runs.reduce((sum, { groups }) => sum + groups, 0) * layout.groupLength;
    yield { bytes: weights * (elementSizeBytes(stored.dtype) + 1), run };
  }
}

/** The runs of a block, one behind the other. */
async function readBlock(
  { source, offset, dtype }: StoredTensor,
  { groupLength }: WeightLayout,
  { runs }: WeightBlock,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const groupBytes = groupLength * elementSizeBytes(dtype);
  const readRun = ({ firstGroup, groups }: WeightBlock["runs"][number]) =>
    source.read(offset + firstGroup * groupBytes, groups * groupBytes, signal);
  const [only] = runs;
  if (runs.length === 1 && only !== undefined) return readRun(only);
  const all = new Uint8Array(runs.reduce((sum, { groups }) => sum + groups * groupBytes, 0));
  let at = 0;
  for (const run of runs) {
    all.set(await readRun(run), at);
    at += run.groups * groupBytes;
  }
  return all;
}
