/**
 * A model from the cache alone: no network, no writing. The commit's listing tells what belongs to the model; a cache that has none (older
 * versions of Python's library wrote none) is judged by its files.
 */

import { readFile } from "node:fs/promises";
import { DownloadError } from "../errors.ts";
import type { CachedRepository } from "./cache-layout-node.ts";
import { pipelineIndexPath, type ResolvedModel, resolved, type Session, selectFiles } from "./session-node.ts";

/**
 * Returns the folder of a model that is complete in the cache.
 *
 * Errors: DownloadError that names what is missing.
 */
export async function resolveFromCache(session: Session): Promise<ResolvedModel> {
  const { cached, selection, client } = session;
  const { revision } = client.connection;
  const commit = await cached.readCommit(revision);
  const here = commit === undefined ? [] : await cached.listSnapshot(commit);
  if (commit === undefined || here.length === 0) {
    throw new DownloadError(`${selection.id} at revision "${revision}" is not in the cache`, { where: cached.cacheFolder, hint: ONLINE });
  }
  const listing = await cached.readListing(commit);
  const index = pipelineIndexPath(selection);
  const indexIsMissing = listing?.has(index) === true && !here.includes(index);
  const missing = indexIsMissing ? [index] : await findMissing(session, commit, here);
  if (missing.length > 0) {
    const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
    throw new DownloadError(`the cached copy of ${selection.id} lacks ${missing[0]}${more}`, {
      where: cached.snapshotFolder(commit),
      hint: ONLINE,
    });
  }
  return resolved(session, commit);
}

const ONLINE = "fetch it once with a network, without --offline (localFilesOnly) or HF_HUB_OFFLINE";

async function findMissing(session: Session, commit: string, here: readonly string[]): Promise<string[]> {
  const { cached } = session;
  const listing = await cached.readListing(commit);
  if (listing === undefined) {
    return missingByContent(cached, commit, await selectFiles(session, commit, here));
  }
  const missing: string[] = [];
  for (const path of await selectFiles(session, commit, [...listing.keys()])) {
    if (!(await cached.has(commit, path, listing.get(path)?.sizeBytes))) {
      missing.push(path);
    }
  }
  return missing;
}

/** Without a listing only the files themselves tell what is missing: a model's config asks for weights, an index for its shards. */
async function missingByContent(cached: CachedRepository, commit: string, paths: readonly string[]): Promise<string[]> {
  const missing: string[] = [];
  for (const path of paths) {
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    if (path.endsWith("/config.json") && !paths.some((other) => other.startsWith(folder) && other.endsWith(".safetensors"))) {
      missing.push(`the weights of ${folder.slice(0, -1)}`);
    }
    if (/\.safetensors\.(?:.+\.)?index\.(?:.+\.)?json$|\.safetensors\.index\.json$/.test(path)) {
      const shards = shardNames(await readFile(cached.pointerPath(commit, path), "utf8"));
      missing.push(...shards.map((name) => folder + name).filter((shard) => !paths.includes(shard)));
    }
  }
  return missing;
}

function shardNames(text: string): string[] {
  try {
    const json: unknown = JSON.parse(text);
    const map = typeof json === "object" && json !== null && "weight_map" in json ? json.weight_map : undefined;
    return typeof map === "object" && map !== null ? [...new Set(Object.values(map).map(String))].sort() : [];
  } catch {
    return [];
  }
}
