/**
 * Fetches the content of one file into the cache: goes on where an earlier download stopped, hashes while it writes, and gives the file its
 * final name only when the hash is the one that the listing names.
 *
 * What pins the content: the address names the commit, the Hub's answer must name the listed hash (X-Linked-Etag), a storage host's ETag must
 * stay the same from try to try (If-Range), and the hash of the whole decides.
 */

import { HalftoneError } from "../errors.ts";
import { type BlobWriter, openBlobWriter } from "./blob-writer-node.ts";
import { type CachedRepository, cannotWrite } from "./cache-layout-node.ts";
import { downloadFailure, networkFailure, withoutQuery } from "./failure.ts";
import type { HubClient, OpenedResponse } from "./hub-client.ts";
import { blobName, type HubFile } from "./listing.ts";
import { claimPartialFile, type PartialFile } from "./partial-file-node.ts";

/** What to fetch and whom to tell. */
export interface Download {
  readonly client: HubClient;
  readonly cached: CachedRepository;
  readonly commit: string;
  readonly file: HubFile;
  /** Called with the bytes that are on disk; they fall back to 0 when a server starts over. */
  readonly onBytes: (receivedBytes: number) => void;
}

/**
 * Fetches a blob that is not in the cache; returns false if another process did so meanwhile.
 *
 * Errors: DownloadError (what was received is kept, unless its hash is wrong), FileError when the disk refuses, CancelledError.
 */
export async function downloadBlob(download: Download): Promise<boolean> {
  const { client, cached, file } = download;
  const partial = await claimPartialFile(
    cached.blobPath(file),
    () => cached.hasBlob(file),
    async () => {
      client.throwIfCancelled();
      await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 200));
    },
  );
  if (partial === undefined) {
    return false;
  }
  try {
    const writer = await openBlobWriter(partial, file, {
      cacheFolder: cached.cacheFolder,
      onBytes: download.onBytes,
      throwIfCancelled: () => client.throwIfCancelled(),
    });
    await client.retrying(
      () => receiveRest(writer, download),
      undefined,
      () => writer.takeProgress(),
    );
    await finish(writer, partial, download);
    return true;
  } catch (error) {
    await partial.release();
    throw error;
  }
}

async function receiveRest(writer: BlobWriter, download: Download): Promise<void> {
  const { file } = download;
  if (writer.receivedBytes === file.sizeBytes) {
    return;
  }
  const opened = await openRest(writer, download);
  const { response, url } = opened;
  await checkIdentity(opened, download);
  if (response.status === 416) {
    await response.body?.cancel().catch(() => undefined);
    await writer.startOver();
    throw downloadFailure({ kind: "network" }, `the server has no bytes of ${file.path} after those received`, {
      where: withoutQuery(url),
    });
  }
  if (writer.receivedBytes > 0 && !continuesAt(response, writer.receivedBytes, file.sizeBytes)) {
    if (response.status === 206) {
      await response.body?.cancel().catch(() => undefined);
      const range = response.headers.get("content-range");
      throw downloadFailure(
        { kind: "content" },
        `the server sends the range "${range}" of ${file.path}, expected bytes from ${writer.receivedBytes} of ${file.sizeBytes}`,
        {
          where: withoutQuery(url),
        },
      );
    }
    await writer.startOver();
  }
  const etag = response.headers.get("etag");
  writer.storageEtag = etag?.startsWith('"') ? etag : undefined;
  await receiveBody(response, url, writer, download);
}

async function openRest(writer: BlobWriter, download: Download): Promise<OpenedResponse> {
  const { client, commit, file } = download;
  const headers: Record<string, string> = { "accept-encoding": "identity" };
  const elsewhere: Record<string, string> = {};
  if (writer.receivedBytes > 0) {
    headers.range = `bytes=${writer.receivedBytes}-`;
    headers["if-range"] = `"${blobName(file)}"`;
    if (writer.storageEtag !== undefined) {
      elsewhere["if-range"] = writer.storageEtag;
    }
  }
  return client.open(client.fileUrl(commit, file.path), { headers }, elsewhere);
}

/** The Hub must answer with the file that its listing names; anything else is a mix-up or a proxy. */
async function checkIdentity({ hub, response, url }: OpenedResponse, { client, file }: Download): Promise<void> {
  const named = (hub.headers.get("x-linked-etag") ?? hub.headers.get("etag"))?.replace(/^W\//, "").replaceAll('"', "");
  if (named !== undefined && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(named) && named !== blobName(file)) {
    await response.body?.cancel().catch(() => undefined);
    throw downloadFailure(
      { kind: "content" },
      `the Hub answers with another ${file.path} (hash ${named}) than it lists (${blobName(file)})`,
      {
        where: withoutQuery(url),
        hint: `try again; if it stays so, report it to the owner of ${client.connection.id}`,
      },
    );
  }
}

function continuesAt(response: Response, offset: number, sizeBytes: number): boolean {
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
  const total = range?.[2] === "*" ? sizeBytes : Number(range?.[2]);
  return response.status === 206 && range !== null && Number(range[1]) === offset && total === sizeBytes;
}

async function receiveBody(response: Response, url: string, writer: BlobWriter, download: Download): Promise<void> {
  const { client, file } = download;
  const { silenceMs } = client.connection;
  const reader = response.body?.getReader();
  try {
    for (;;) {
      const { done, value } = reader === undefined ? { done: true, value: undefined } : await withinSilence(reader.read(), silenceMs);
      client.throwIfCancelled();
      if (done || value === undefined) {
        break;
      }
      if (writer.receivedBytes + value.byteLength > file.sizeBytes) {
        throw downloadFailure({ kind: "content" }, `the server sends more than the ${file.sizeBytes} bytes of ${file.path}`, {
          where: withoutQuery(url),
        });
      }
      await writer.append(value);
    }
  } catch (error) {
    client.throwIfCancelled();
    throw error instanceof HalftoneError ? error : networkFailure(error, url);
  } finally {
    await reader?.cancel().catch(() => undefined);
  }
  if (writer.receivedBytes < file.sizeBytes) {
    const message = `the server ends ${file.path} after ${writer.receivedBytes} of ${file.sizeBytes} bytes`;
    throw downloadFailure({ kind: "network" }, message, { where: withoutQuery(url) });
  }
}

async function withinSilence<T>(reading: Promise<T>, silenceMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no data within ${silenceMs / 1000} seconds`)), silenceMs);
  });
  try {
    return await Promise.race([reading, silence]);
  } finally {
    clearTimeout(timer);
  }
}

async function finish(writer: BlobWriter, partial: PartialFile, { cached, file, client, commit }: Download): Promise<void> {
  const digest = writer.digest();
  const { size } = await partial.handle.stat();
  if (digest !== blobName(file) || size !== file.sizeBytes) {
    await partial.discard();
    const kind = file.sha256 === undefined ? "git hash" : "sha256";
    throw downloadFailure({ kind: "content" }, `the content of ${file.path} has the ${kind} ${digest}, expected ${blobName(file)}`, {
      where: client.fileUrl(commit, file.path),
      hint: "what was received has been deleted; the next download starts from the beginning",
    });
  }
  try {
    await partial.handle.datasync();
    await partial.complete();
  } catch (cause) {
    throw cannotWrite(cached.cacheFolder, cause);
  }
}
