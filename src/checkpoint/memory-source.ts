/**
 * Bytes and folders in memory: for tests, and for files that a user hands to a web page.
 */
import { CheckpointError } from "../errors.ts";
import type { ByteSource, Folder } from "./byte-source.ts";
import { throwIfCancelled } from "./cancel.ts";
import { checkPath } from "./folder.ts";

/** Serves bytes that are in memory already; they must not change afterwards. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    sizeBytes: bytes.length,
    file: undefined,
    async read(offset, length, signal) {
      throwIfCancelled(signal);
      checkRange(name, bytes.length, offset, length);
      return new Uint8Array(bytes.subarray(offset, offset + length));
    },
    async close() {},
  };
}

/** Serves files that are in memory, by path; text is stored as UTF-8. */
export function memoryFolder(name: string, files: Readonly<Record<string, Uint8Array | string>>): Folder {
  const contents = new Map(
    Object.entries(files).map(([path, content]) => [path, typeof content === "string" ? new TextEncoder().encode(content) : content]),
  );
  return {
    name,
    async open(path) {
      checkPath(path, name);
      const bytes = contents.get(path);
      return bytes && memorySource(`${name}/${path}`, bytes);
    },
    async list() {
      return [...contents.keys()].sort();
    },
  };
}

/** Throws CheckpointError unless a range of bytes lies inside a source; every ByteSource asks it first. */
export function checkRange(name: string, sizeBytes: number, offset: number, length: number): void {
  const isInside =
    Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0 && offset + length <= sizeBytes;
  if (!isInside) {
    throw new CheckpointError(`${length} bytes at offset ${offset} were asked for, but the file has ${sizeBytes} bytes`, { where: name });
  }
}
