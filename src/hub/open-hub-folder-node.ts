/**
 * A model on the Hub seen as a folder, without fetching it: files are read by range at one commit, from the cache where they are in it.
 *
 * A commit's files never change, so its hash pins their content; the listed size is checked against what the server offers.
 */

import type { ByteSource, Folder } from "../checkpoint/byte-source.ts";
import { openFile, openFolder } from "../checkpoint/file-source-node.ts";
import { subfolder } from "../checkpoint/folder.ts";
import { httpFolder } from "../checkpoint/http-source.ts";
import { downloadFailure } from "./failure.ts";
import { resolveFromCache } from "./offline-node.ts";
import { type HubOptions, type HubSurroundings, hubSurroundings, look, openSession } from "./session-node.ts";

/**
 * Opens a model on the Hub for reading by range; the folder's name holds the commit.
 *
 * Errors: those of resolveModel for the revision and the listing; opening and reading give DownloadError.
 */
export async function openHubFolder(
  id: string,
  options: HubOptions = {},
  surroundings: HubSurroundings = hubSurroundings,
): Promise<Folder> {
  const session = await openSession(id, options, surroundings);
  if (session.offline) {
    return openFolder((await resolveFromCache(session)).folder);
  }
  const { client, cached } = session;
  const { commit, listing } = await look(session);
  const { endpoint, token, retryDelayMs, silenceMs } = client.connection;
  const base = `${endpoint}/${id}/resolve/${commit}`;
  const remote = httpFolder(base, [...listing.keys()], { token, retryDelayMs, timeoutMs: silenceMs, signal: options.signal });
  const folder: Folder = {
    name: remote.name,
    list: () => remote.list(),
    async open(path) {
      const file = listing.get(path);
      if (file !== undefined && (await cached.has(commit, path, file.sizeBytes))) {
        return openFile(cached.pointerPath(commit, path));
      }
      const source = await remote.open(path);
      return source === undefined || file === undefined ? undefined : checkSize(source, file.sizeBytes);
    },
  };
  return subfolder(folder, options.subfolder ?? "");
}

async function checkSize(source: ByteSource, sizeBytes: number): Promise<ByteSource> {
  if (source.sizeBytes !== sizeBytes) {
    await source.close();
    throw downloadFailure({ kind: "content" }, `the server offers ${source.sizeBytes} bytes, expected ${sizeBytes} as the Hub lists`, {
      where: source.name,
    });
  }
  return source;
}
