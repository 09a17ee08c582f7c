/**
 * The list of files of a repository at one commit, with the hash and the size of each.
 *
 * A commit never changes, so its listing is kept on disk as huggingface_hub keeps it (`trees/<commit>.json`): offline it tells which files
 * belong to the model. The hash is the name of the blob in the cache: sha256 of the content for large files, git's blob id for the others.
 * Source: huggingface_hub _tree_cache.py@2.4.0.
 */

import * as v from "valibot";
import { DownloadError } from "../errors.ts";

/** A file of a repository at one commit. */
export interface HubFile {
  /** Path inside the repository, with "/" between names; not yet checked, see checkServerPath. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Git's id of what is committed: the file, or the pointer to a large file. */
  readonly gitId: string;
  /** Hash of the content of a large file. */
  readonly sha256: string | undefined;
  readonly xetHash: string | undefined;
}

/** All files of a repository at one commit, by path. */
export type Listing = ReadonlyMap<string, HubFile>;

/** Returns the name of a file's blob in the cache, which is its ETag on the Hub. */
export function blobName(file: HubFile): string {
  return file.sha256 ?? file.gitId;
}

const GitId = v.pipe(v.string(), v.regex(/^[0-9a-f]{40}$/));
const Sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const Size = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const ServerEntry = v.object({
  path: v.string(),
  size: Size,
  oid: GitId,
  lfs: v.optional(v.object({ oid: Sha256, size: Size })),
  xetHash: v.optional(v.string()),
});

const CachedEntry = v.object({
  size: Size,
  blob_id: GitId,
  lfs_sha256: v.optional(Sha256),
  lfs_size: v.optional(Size),
  xet_hash: v.optional(v.string()),
});
const CachedListing = v.object({ format_version: v.literal(1), files: v.record(v.string(), CachedEntry) });

/**
 * Reads one entry of the Hub's answer to a listing.
 *
 * Errors: DownloadError when it has no usable hash or size.
 */
export function parseServerEntry(value: unknown, id: string): HubFile {
  const parsed = v.safeParse(ServerEntry, value);
  if (!parsed.success) {
    const issue = parsed.issues[0];
    const field = issue.path?.map((item) => String(item.key)).join(".") ?? "entry";
    throw new DownloadError(`the Hub lists a file without a usable ${field}: ${issue.message}`, { where: id });
  }
  const { path, size, oid, lfs, xetHash } = parsed.output;
  return { path, sizeBytes: lfs?.size ?? size, gitId: oid, sha256: lfs?.oid, xetHash: usableXetHash(xetHash) };
}

/** Reads a cached listing, or returns undefined if the text is not one of a known version (it is then fetched again). */
export function parseCachedListing(text: string): Listing | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  const parsed = v.safeParse(CachedListing, json);
  if (!parsed.success) {
    return undefined;
  }
  const files = new Map<string, HubFile>();
  for (const [path, entry] of Object.entries(parsed.output.files)) {
    const sizeBytes = entry.lfs_size ?? entry.size;
    files.set(path, { path, sizeBytes, gitId: entry.blob_id, sha256: entry.lfs_sha256, xetHash: usableXetHash(entry.xet_hash) });
  }
  return files;
}

/** Writes a listing as huggingface_hub does. */
export function printCachedListing(listing: Listing): string {
  const files: Record<string, v.InferOutput<typeof CachedEntry>> = {};
  for (const file of [...listing.values()].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    files[file.path] = {
      size: file.sizeBytes,
      blob_id: file.gitId,
      ...(file.sha256 === undefined ? {} : { lfs_sha256: file.sha256, lfs_size: file.sizeBytes }),
      ...(file.xetHash === undefined ? {} : { xet_hash: file.xetHash }),
    };
  }
  return JSON.stringify({ format_version: 1, files }, undefined, 1);
}

function usableXetHash(hash: string | undefined): string | undefined {
  return hash !== undefined && /^[0-9a-f]{64}$/.test(hash) ? hash : undefined;
}
