/**
 * Feature maps in temporary files, for pictures whose features are larger than memory should be.
 *
 * The file loses its name as soon as it is open, so that a process that is killed leaves nothing behind. Its pages belong to the system's
 * cache, which drops them when memory is short. Rows lie one after the other [height, channels, width]: a strip is one stretch of the file.
 */
import { type FileHandle, mkdir, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { FileError } from "../errors.ts";
import type { MapShape } from "../tensor/tensor.ts";
import type { FeatureMap, OpenFeatureMap } from "./feature-map.ts";
import { isMemoryBacked } from "./memory-backed-node.ts";
import { weightCacheFolder } from "./weight-cache-node.ts";

/** Bytes that are read or written at a time. */
const PIECE_BYTES = 1024 * 1024;

/** Opens maps in files of the first of these folders that lies on a disk. */
export function fileFeatureMaps(folders: readonly string[] = [tmpdir(), weightCacheFolder()]): OpenFeatureMap {
  let chosen: Promise<string> | undefined;
  return async (shape) => {
    chosen ??= folderOnDisk(folders);
    const folder = await chosen;
    const file = path.join(folder, `halftone-${crypto.randomUUID()}.map`);
    const handle = await attempt(folder, () => open(file, "wx+", 0o600));
    // Where an open file cannot lose its name, it goes when the map does.
    const hasName = await rm(file).then(
      () => false,
      () => true,
    );
    return new FileFeatureMap(shape, { handle, folder, file: hasName ? file : undefined });
  };
}

interface MapFile {
  readonly handle: FileHandle;
  readonly folder: string;
  /** Where the file still has a name. */
  readonly file: string | undefined;
}

class FileFeatureMap implements FeatureMap {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly #place: MapFile;
  /** Rows as they lie in the file, a piece at a time. */
  readonly #piece: Float32Array;
  readonly #rowFloats: number;
  #isOpen = true;

  constructor({ channels, height, width }: MapShape, place: MapFile) {
    this.channels = channels;
    this.height = height;
    this.width = width;
    this.#place = place;
    this.#rowFloats = channels * width;
    this.#piece = new Float32Array(this.#rowFloats * Math.max(1, Math.floor(PIECE_BYTES / (4 * this.#rowFloats))));
  }

  async read(from: number, to: number, into: Float32Array): Promise<void> {
    for (const { first, count } of this.#pieces(from, to)) {
      const bytes = this.#bytes(count);
      await attempt(this.#place.folder, async () => {
        for (let done = 0; done < bytes.length; ) {
          const { bytesRead } = await this.#place.handle.read(bytes, done, bytes.length - done, this.#offset(first) + done);
          if (bytesRead === 0) throw new FileError("a temporary file became shorter while it was in use", { where: this.#place.folder });
          done += bytesRead;
        }
      });
      this.#eachRun(count, first - from, to - from, (inPiece, inRows) => {
        into.set(this.#piece.subarray(inPiece, inPiece + this.width), inRows);
      });
    }
  }

  async write(from: number, to: number, rows: Float32Array): Promise<void> {
    for (const { first, count } of this.#pieces(from, to)) {
      this.#eachRun(count, first - from, to - from, (inPiece, inRows) => {
        this.#piece.set(rows.subarray(inRows, inRows + this.width), inPiece);
      });
      const bytes = this.#bytes(count);
      await attempt(this.#place.folder, async () => {
        for (let done = 0; done < bytes.length; ) {
          done += (await this.#place.handle.write(bytes, done, bytes.length - done, this.#offset(first) + done)).bytesWritten;
        }
      });
    }
  }

  async dispose(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#place.handle.close();
    if (this.#place.file !== undefined) await rm(this.#place.file, { force: true });
  }

  *#pieces(from: number, to: number): Generator<{ first: number; count: number }> {
    const most = this.#piece.length / this.#rowFloats;
    for (let first = from; first < to; first += most) yield { first, count: Math.min(most, to - first) };
  }

  /** Where each run of a row lies in the piece, and in [channels, rows, width]. */
  #eachRun(count: number, firstRow: number, rows: number, visit: (inPiece: number, inRows: number) => void): void {
    for (let row = 0; row < count; row++) {
      for (let c = 0; c < this.channels; c++) visit((row * this.channels + c) * this.width, (c * rows + firstRow + row) * this.width);
    }
  }

  #bytes(rows: number): Uint8Array {
    return new Uint8Array(this.#piece.buffer, 0, 4 * rows * this.#rowFloats);
  }

  #offset(row: number): number {
    return 4 * row * this.#rowFloats;
  }
}

/** The first folder that can be used and is not memory itself. */
async function folderOnDisk(folders: readonly string[]): Promise<string> {
  const refused: string[] = [];
  for (const folder of folders) {
    try {
      await mkdir(folder, { recursive: true });
      if (!(await isMemoryBacked(folder))) return folder;
      refused.push(`${JSON.stringify(folder)} lies in memory, where it would save none`);
    } catch (cause) {
      refused.push(`${JSON.stringify(folder)} cannot be used (${(cause as Error).message})`);
    }
  }
  throw new FileError(`there is no folder for temporary files: ${refused.join("; ")}`, { hint: HINT });
}

async function attempt<T>(folder: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    const { code, message } = cause as NodeJS.ErrnoException;
    const isFull = code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG";
    const what = isFull ? "the disk is full" : `a temporary file failed (${code ?? message})`;
    throw new FileError(`${what}: the features of the picture could not be kept in ${JSON.stringify(folder)}`, {
      where: folder,
      hint: isFull ? `free some space, or ${HINT}` : HINT,
      cause,
    });
  }
}

const HINT = "set TMPDIR to a folder on a disk with room";
