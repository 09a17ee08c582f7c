/**
 * Bytes and folders on disk, read by position, so that any number of reads can be under way on one handle.
 *
 * A source keeps the real place of its file beside the name the user gave: onnxruntime maps files itself and refuses symbolic links, of
 * which the Hub's cache is made.
 */
import { constants, type Stats } from "node:fs";
import { type FileHandle, open, readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { CheckpointError, FileError, HalftoneError } from "../errors.ts";
import type { ByteSource, FileLocation, Folder } from "./byte-source.ts";
import { throwIfCancelled } from "./cancel.ts";
import { checkPath } from "./folder.ts";
import { checkRange } from "./memory-source.ts";
import { isMissing, systemCode } from "./system-error.ts";

/** Between two pieces the signal is looked at, and Node cannot read more than 2 GiB at once. */
const PIECE_BYTES = 64 * 2 ** 20;
/** What is read only for the sake of the system's page cache goes to one small place, over and over. */
const PREFETCH_BYTES = 4 * 2 ** 20;
let prefetched: Uint8Array | undefined;
/** More than any model has; a mistyped "/" must not walk the whole disk. */
const MAX_NAMES = 20_000;

/**
 * Opens a file for reading; it must be closed.
 *
 * Errors: CheckpointError when it is missing or not a file; FileError when it may not be read.
 */
export async function openFile(path: string): Promise<ByteSource> {
  const source = await openIfPresent(path);
  if (source === undefined) throw new CheckpointError(`file "${path}" does not exist`, { where: path });
  return source;
}

/**
 * Opens a model's folder.
 *
 * Errors: CheckpointError when it is missing, empty or a file; FileError when it may not be read.
 */
export async function openFolder(path: string): Promise<Folder> {
  const info = await statIfPresent(path);
  if (info === undefined) {
    throw new CheckpointError(`model folder "${path}" does not exist`, {
      where: path,
      hint: "a model id on the Hub has the form owner/name",
    });
  }
  if (!info.isDirectory()) {
    throw new CheckpointError(`model path "${path}" is a file, expected a folder in diffusers' layout`, {
      where: path,
      hint: "pass the folder that holds model_index.json",
    });
  }
  if ((await namesIn(path)).length === 0) throw new CheckpointError(`model folder "${path}" is empty`, { where: path });
  return {
    name: path,
    async open(name) {
      checkPath(name, path);
      return openIfPresent(join(path, name));
    },
    async list() {
      return (await filesBelow(path)).sort();
    },
  };
}

class FileSource implements ByteSource {
  readonly name: string;
  readonly sizeBytes: number;
  readonly file: FileLocation;
  readonly #handle: FileHandle;

  constructor(name: string, sizeBytes: number, realPath: string, handle: FileHandle) {
    this.name = name;
    this.sizeBytes = sizeBytes;
    this.file = { folder: dirname(realPath), fileName: basename(realPath) };
    this.#handle = handle;
  }

  async read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    throwIfCancelled(signal);
    checkRange(this.name, this.sizeBytes, offset, length);
    // Not from Buffer's pool: its pieces start at odd places, and this memory is viewed as float32.
    const bytes = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
    let done = 0;
    while (done < length) {
      throwIfCancelled(signal);
      const { bytesRead } = await this.#readPiece(bytes, done, Math.min(PIECE_BYTES, length - done), offset + done);
      if (bytesRead === 0) {
        throw new CheckpointError(
          `the file became shorter while it was read: it had ${this.sizeBytes} bytes, now ${(await this.#handle.stat()).size}`,
          {
            where: this.name,
          },
        );
      }
      done += bytesRead;
    }
    return bytes;
  }

  async #readPiece(bytes: Uint8Array, at: number, length: number, position: number): Promise<{ bytesRead: number }> {
    try {
      return await this.#handle.read(bytes, at, length, position);
    } catch (cause) {
      throw failure(this.name, cause);
    }
  }

  prefetch(offset: number, length: number): void {
    prefetched ??= new Uint8Array(PREFETCH_BYTES);
    const end = Math.min(offset + length, this.sizeBytes);
    for (let at = offset; at < end; at += PREFETCH_BYTES) {
      // Whoever needs these bytes reads them again, and hears then what is wrong with the file.
      this.#handle.read(prefetched, 0, Math.min(PREFETCH_BYTES, end - at), at).catch(() => {});
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

async function openIfPresent(path: string): Promise<ByteSource | undefined> {
  const info = await statIfPresent(path);
  if (info === undefined) return undefined;
  if (!info.isFile()) {
    throw new CheckpointError(`"${path}" is ${info.isDirectory() ? "a folder" : "not a regular file"}, expected a file`, { where: path });
  }
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDONLY);
    const realPath = await realpath(path);
    return new FileSource(path, (await handle.stat()).size, realPath, handle);
  } catch (cause) {
    await handle?.close();
    throw failure(path, cause);
  }
}

async function statIfPresent(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw failure(path, cause);
  }
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (cause) {
    throw failure(path, cause);
  }
}

/** Follows links, which the Hub's cache is made of, but never around in a circle; a link that leads nowhere is no file. */
async function filesBelow(root: string): Promise<string[]> {
  const files: string[] = [];
  let names = 0;
  async function visit(below: string, above: readonly string[]): Promise<void> {
    const here = await realpath(join(root, below));
    if (above.includes(here)) return;
    for (const name of await namesIn(here)) {
      if (++names > MAX_NAMES) {
        throw new CheckpointError(`folder "${root}" holds more than ${MAX_NAMES} files, expected a model in diffusers' layout`, {
          where: root,
        });
      }
      const path = below === "" ? name : `${below}/${name}`;
      const info = await statIfPresent(join(root, path));
      if (info?.isDirectory()) await visit(path, [...above, here]);
      else if (info?.isFile()) files.push(path);
    }
  }
  await visit("", []);
  return files;
}

function failure(path: string, cause: unknown): HalftoneError {
  if (cause instanceof HalftoneError) return cause;
  const code = systemCode(cause);
  if (code === "EACCES" || code === "EPERM") {
    return new FileError(`no permission to read "${path}"`, { where: path, hint: "change its permissions or run as its owner", cause });
  }
  if (code === "ELOOP") return new FileError(`"${path}" is a symbolic link that leads in a circle`, { where: path, cause });
  if (code === "EMFILE" || code === "ENFILE") {
    return new FileError(`too many files are open to read "${path}"`, { where: path, hint: "raise the limit with ulimit -n", cause });
  }
  return new FileError(`"${path}" cannot be read (${code ?? String(cause)})`, { where: path, cause });
}
