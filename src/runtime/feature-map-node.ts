/**
 * Feature maps in temporary files, for pictures whose features are larger than memory should be.
 *
 * The file loses its name as soon as it is open, so that a process that is killed leaves nothing behind. Its pages belong to the system's
 * cache, which drops them when memory is short. Rows are read into the caller's memory and written from it without a copy; calls are
 * synchronous, as the engine's are, because thousands of small ones in flight would leave more garbage than the strips take.
 */
import { readSync, writeSync } from "node:fs";
import { type FileHandle, mkdir, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { FileError } from "../errors.ts";
import type { MapShape } from "../tensor/tensor.ts";
import type { FeatureMap, OpenFeatureMap } from "./feature-map.ts";
import { isMemoryBacked } from "./memory-backed-node.ts";
import { weightCacheFolder } from "./weight-cache-node.ts";

const FLOAT_BYTES = 4;
const HINT = "set TMPDIR to a folder on a disk with room";

/** The system's calls that move bytes; a test may stand in for a disk that is full. */
export interface FileCalls {
  read(descriptor: number, into: Uint8Array, offset: number, length: number, position: number): number;
  write(descriptor: number, from: Uint8Array, offset: number, length: number, position: number): number;
}

const SYSTEM: FileCalls = { read: readSync, write: writeSync };

/** Opens maps in files of the first of these folders that lies on a disk. */
export function fileFeatureMaps(folders: readonly string[] = [tmpdir(), weightCacheFolder()], calls: FileCalls = SYSTEM): OpenFeatureMap {
  let chosen: Promise<string> | undefined;
  return async (shape) => {
    chosen ??= folderOnDisk(folders);
    const folder = await chosen;
    const file = path.join(folder, `halftone-${crypto.randomUUID()}.map`);
    const handle = await open(file, "wx+", 0o600).catch((cause: unknown) => {
      throw failure(folder, cause);
    });
    // Where an open file cannot lose its name, it goes when the map does.
    const hasName = await rm(file).then(
      () => false,
      () => true,
    );
    return new FileFeatureMap(shape, { handle, folder, file: hasName ? file : undefined, calls });
  };
}

interface MapFile {
  readonly handle: FileHandle;
  readonly folder: string;
  /** Where the file still has a name. */
  readonly file: string | undefined;
  readonly calls: FileCalls;
}

/** Values lie in the file as they do in a tensor [channels, height, width]. */
class FileFeatureMap implements FeatureMap {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly #place: MapFile;
  #isOpen = true;

  constructor({ channels, height, width }: MapShape, place: MapFile) {
    this.channels = channels;
    this.height = height;
    this.width = width;
    this.#place = place;
  }

  async read(from: number, to: number, into: Float32Array): Promise<void> {
    this.#move(this.#place.calls.read, from, to, into);
  }

  async write(from: number, to: number, rows: Float32Array): Promise<void> {
    this.#move(this.#place.calls.write, from, to, rows);
  }

  async dispose(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#place.handle.close();
    if (this.#place.file !== undefined) await rm(this.#place.file, { force: true });
  }

  /** Moves the rows of each channel, a stretch of the file and of the strip. */
  #move(call: FileCalls["read"], from: number, to: number, rows: Float32Array): void {
    const { handle, folder } = this.#place;
    const stretch = FLOAT_BYTES * (to - from) * this.width;
    const bytes = new Uint8Array(rows.buffer, rows.byteOffset, this.channels * stretch);
    for (let c = 0; c < this.channels; c++) {
      const position = FLOAT_BYTES * (c * this.height + from) * this.width;
      for (let done = 0; done < stretch; ) {
        const moved = attempt(folder, () => call(handle.fd, bytes, c * stretch + done, stretch - done, position + done));
        if (moved === 0) throw new FileError("a temporary file became shorter while it was in use", { where: folder });
        done += moved;
      }
    }
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

function attempt<T>(folder: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw failure(folder, cause);
  }
}

function failure(folder: string, cause: unknown): FileError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const isFull = code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG";
  const what = isFull ? "the disk is full" : `a temporary file failed (${code ?? message})`;
  return new FileError(`${what}: the features of the picture could not be kept in ${JSON.stringify(folder)}`, {
    where: folder,
    hint: isFull ? `free some space, or ${HINT}` : HINT,
    cause,
  });
}
