/**
 * Brings files of one commit into the cache: checks that they fit on the disk, fetches them, puts them into the commit's folder, and reports.
 */

import { dirname } from "node:path";
import { FileError } from "../errors.ts";
import { downloadBlob } from "./download-node.ts";
import { blobName, type HubFile, type Listing } from "./listing.ts";
import { leftoverBytes } from "./partial-file-node.ts";
import type { Session } from "./session-node.ts";

const AT_ONCE = 2;
const REPORT_EVERY_MS = 100;

/**
 * Fetches those of the files that the cache lacks, small ones first, a few at a time; the first error stops the others.
 *
 * Errors: those of downloadBlob; FileError before anything is fetched when the disk has too little room.
 */
export async function fetchFiles(session: Session, commit: string, files: readonly HubFile[], listing: Listing): Promise<void> {
  const { cached, client } = session;
  const missing: HubFile[] = [];
  for (const file of files) {
    if (!(await cached.has(commit, file.path, file.sizeBytes))) {
      missing.push(file);
    }
  }
  if (missing.length === 0) {
    return;
  }
  await checkSpace(session, missing);
  await cached.prepare();
  await cached.writeListing(commit, listing);
  const queue = missing.sort((a, b) => a.sizeBytes - b.sizeBytes || (a.path < b.path ? -1 : 1));
  const progress = startProgress(session, queue);
  const work = async (): Promise<void> => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const wanted = file;
      client.throwIfCancelled();
      const isNew =
        !(await cached.hasBlob(wanted)) && (await downloadBlob({ client, cached, commit, file, onBytes: (n) => progress(wanted, n) }));
      await cached.point(commit, wanted, isNew);
      progress(wanted, wanted.sizeBytes);
    }
  };
  let first: { error: unknown } | undefined;
  const worker = (): Promise<void> =>
    work().catch((error: unknown) => {
      first ??= { error };
      session.stop();
    });
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (first !== undefined) {
    throw first.error;
  }
}

async function checkSpace({ cached, selection, surroundings }: Session, files: readonly HubFile[]): Promise<void> {
  let neededBytes = 0;
  const blobs = new Map(files.map((file) => [blobName(file), file]));
  for (const file of blobs.values()) {
    const onDisk = (await cached.hasBlob(file)) ? file.sizeBytes : await leftoverBytes(cached.blobPath(file));
    neededBytes += Math.max(0, file.sizeBytes - onDisk);
  }
  let folder = cached.cacheFolder;
  let freeBytes: number | undefined;
  while (freeBytes === undefined) {
    freeBytes = await surroundings.freeBytes(folder).catch(() => (dirname(folder) === folder ? Number.POSITIVE_INFINITY : undefined));
    folder = dirname(folder);
  }
  if (neededBytes > freeBytes) {
    throw new FileError(`${selection.id} needs ${inWords(neededBytes)} more on disk, but only ${inWords(freeBytes)} are free`, {
      where: cached.cacheFolder,
      hint: "free some space, or name a cache folder on another disk in HF_HUB_CACHE",
    });
  }
}

function inWords(bytes: number): string {
  return `${bytes.toLocaleString("en-US")} bytes (${(bytes / 1e9).toFixed(1)} GB)`;
}

function startProgress({ report }: Session, files: readonly HubFile[]): (file: HubFile, receivedBytes: number) => void {
  const overallTotalBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const received = new Map<string, number>();
  let overallReceivedBytes = 0;
  let reportedAt = 0;
  return (file, receivedBytes) => {
    const before = received.get(file.path);
    received.set(file.path, receivedBytes);
    overallReceivedBytes += receivedBytes - (before ?? 0);
    const whole = receivedBytes === file.sizeBytes;
    if ((whole && before !== receivedBytes) || Date.now() - reportedAt >= REPORT_EVERY_MS) {
      reportedAt = Date.now();
      report({ type: "download", file: file.path, receivedBytes, totalBytes: file.sizeBytes, overallReceivedBytes, overallTotalBytes });
    }
  };
}
