/** A partial file that grows together with the hash of its content, so that a finished file is never read again to check it. */

import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { cannotWrite } from "./cache-layout-node.ts";
import type { HubFile } from "./listing.ts";
import type { PartialFile } from "./partial-file-node.ts";

/** The file on disk with the hash of what it holds. */
export interface BlobWriter {
  receivedBytes: number;
  /** ETag of the storage host's first answer. */
  storageEtag: string | undefined;
  append(bytes: Uint8Array): Promise<void>;
  startOver(): Promise<void>;
  digest(): string;
  /** Tells whether anything was appended since the last call. */
  takeProgress(): boolean;
}

/** Whom a writer works for. */
export interface BlobOwner {
  readonly cacheFolder: string;
  /** Called with the bytes that are on disk. */
  readonly onBytes: (receivedBytes: number) => void;
  readonly throwIfCancelled: () => void;
}

/**
 * Opens a partial file for appending, and hashes what an earlier download left in it.
 *
 * Errors: FileError when the disk refuses.
 */
export async function openBlobWriter(partial: PartialFile, file: HubFile, owner: BlobOwner): Promise<BlobWriter> {
  const { cacheFolder, onBytes } = owner;
  const write = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      throw cannotWrite(cacheFolder, cause);
    }
  };
  let hash = startHash(file);
  let progressed = false;
  const writer: BlobWriter = {
    receivedBytes: partial.sizeBytes,
    storageEtag: undefined,
    append: async (bytes) => {
      await write(() => partial.handle.writeFile(bytes));
      hash.update(bytes);
      writer.receivedBytes += bytes.byteLength;
      progressed = true;
      onBytes(writer.receivedBytes);
    },
    startOver: async () => {
      await write(() => partial.handle.truncate(0));
      hash = startHash(file);
      writer.receivedBytes = 0;
      onBytes(0);
    },
    digest: () => hash.digest("hex"),
    takeProgress: () => {
      const result = progressed;
      progressed = false;
      return result;
    },
  };
  if (partial.sizeBytes > file.sizeBytes) {
    await writer.startOver();
  } else if (partial.sizeBytes > 0) {
    for await (const bytes of createReadStream(partial.path, { highWaterMark: 1 << 20 })) {
      owner.throwIfCancelled();
      hash.update(bytes);
    }
  }
  onBytes(writer.receivedBytes);
  return writer;
}

/** Git names a file by the sha1 of its size and content; large files are named by sha256. */
function startHash(file: HubFile): Hash {
  return file.sha256 === undefined ? createHash("sha1").update(`blob ${file.sizeBytes}\0`) : createHash("sha256");
}
