/**
 * Writes a large safetensors file piece by piece: the header first, then bytes of any tensor in any order, each at its place.
 *
 * The file grows under a hidden name beside its own and takes that when `finish` has found every byte written, once, and on the disk.
 */
import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { layoutSafetensors, type PlacedTensor, type TensorSpec } from "./safetensors-layout.ts";
import { quote } from "./stored-tensor.ts";
import { systemCode } from "./system-error.ts";
import { writeFailure } from "./write-failure-node.ts";

/** Takes the bytes of tensors: a file, or several that share them. */
export interface TensorSink {
  /** Writes bytes of a tensor, counted from its beginning; calls may overlap in time. */
  write(name: string, offset: number, bytes: Uint8Array): Promise<void>;
}

/** Bytes [begin, end) of a tensor. */
type Span = readonly [begin: number, end: number];

/** A safetensors file under way. */
export class SafetensorsWriter implements TensorSink {
  readonly path: string;
  /** Size of the whole file. */
  readonly sizeBytes: number;
  readonly #hidden: string;
  readonly #file: FileHandle;
  readonly #tensors: ReadonlyMap<string, PlacedTensor>;
  /** What has been written, merged where it touches, in order. */
  readonly #written = new Map<string, Span[]>();
  #open = true;
  /** Why writing failed first: pieces that are under way then find the file closed, which says nothing. */
  #cause: unknown;

  private constructor(path: string, hidden: string, file: FileHandle, sizeBytes: number, tensors: readonly PlacedTensor[]) {
    this.path = path;
    this.#hidden = hidden;
    this.#file = file;
    this.sizeBytes = sizeBytes;
    this.#tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  }

  /**
   * Begins a file: its header is written at once.
   *
   * Errors: FileError when the folder is missing or may not be written, or the disk is full; UsageError as layoutSafetensors. No file is
   * left behind.
   */
  static async create(
    path: string,
    specs: readonly TensorSpec[],
    metadata: Readonly<Record<string, string>> = {},
  ): Promise<SafetensorsWriter> {
    const layout = layoutSafetensors(specs, metadata);
    const hidden = join(dirname(path), `.halftone-${randomBytes(6).toString("hex")}.part`);
    const file = await open(hidden, "wx").catch((cause: unknown) => {
      throw writeFailure(path, cause);
    });
    const writer = new SafetensorsWriter(path, hidden, file, layout.sizeBytes, layout.tensors);
    await writer.#writeAt(0, layout.header);
    return writer;
  }

  /** Writes bytes of a tensor; errors: FileError, after which nothing is left of the file. A piece that does not fit is a defect. */
  async write(name: string, offset: number, bytes: Uint8Array): Promise<void> {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new Error(`tensor ${quote(name)} is not in the file's header`);
    if (offset < 0 || offset + bytes.length > tensor.sizeBytes) {
      throw new Error(`tensor ${quote(name)} has ${tensor.sizeBytes} bytes, expected a piece inside, got ${offset} + ${bytes.length}`);
    }
    this.#note(name, [offset, offset + bytes.length]);
    await this.#writeAt(tensor.offset + offset, bytes);
  }

  /** Waits for the disk and gives the file its name; errors: FileError, after which nothing is left. A missing piece is a defect. */
  async finish(): Promise<void> {
    try {
      for (const { name, sizeBytes } of this.#tensors.values()) {
        const [first] = this.#written.get(name) ?? [];
        const written = first?.[0] === 0 ? first[1] : 0;
        if (written !== sizeBytes) throw new Error(`tensor ${quote(name)} has bytes from ${written} on that were not written`);
      }
      await this.#file.sync();
      await this.#close();
      await rename(this.#hidden, this.path);
    } catch (cause) {
      await this.abort();
      throw this.#failure(this.#cause ?? cause);
    }
  }

  /** Gives up: closes and removes what was written; idempotent, and harmless after finish. */
  async abort(): Promise<void> {
    await this.#close().catch(() => {});
    await rm(this.#hidden, { force: true }).catch(() => {});
  }

  async #writeAt(position: number, bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await this.#file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
      }
    } catch (cause) {
      this.#cause ??= cause;
      await this.abort();
      throw this.#failure(this.#cause);
    }
  }

  async #close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#file.close();
  }

  #failure(cause: unknown): unknown {
    // A defect of ours is no failure of the disk.
    return systemCode(cause) === undefined ? cause : writeFailure(this.path, cause);
  }

  /** Keeps the list of pieces short: neighbours are joined, so a tensor that is written in order has one. */
  #note(name: string, span: Span): void {
    if (span[0] === span[1]) return;
    const spans = this.#written.get(name) ?? [];
    const at = spans.findIndex(([begin]) => begin >= span[0]);
    const index = at < 0 ? spans.length : at;
    const [before, after] = [spans[index - 1], spans[index]];
    if ((before !== undefined && before[1] > span[0]) || (after !== undefined && after[0] < span[1])) {
      throw new Error(`tensor ${quote(name)} has bytes ${span[0]} to ${span[1]} written twice`);
    }
    const joinsBefore = before !== undefined && before[1] === span[0];
    const joinsAfter = after !== undefined && after[0] === span[1];
    const merged: Span = [joinsBefore ? before[0] : span[0], joinsAfter ? after[1] : span[1]];
    spans.splice(joinsBefore ? index - 1 : index, Number(joinsBefore) + Number(joinsAfter), merged);
    this.#written.set(name, spans);
  }
}
