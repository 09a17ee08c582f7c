/**
 * The execution cache: weight files that halftone has made (quantized weights, in Quanto's own layout) and can make again at any time.
 *
 * A file is named by a hash of what it was made from, appears whole or not at all, is shared by all processes, and is deleted, the longest
 * unused first, when the cache outgrows its limit. Deleting one by hand does no harm: a process that has mapped it keeps it.
 */
import { mkdir, readdir, rm, stat, utimes } from "node:fs/promises";
import { homedir } from "node:os";
import path from "node:path";
import process from "node:process";
import { FileError, UsageError } from "../errors.ts";
import { isMemoryBacked } from "./memory-backed-node.ts";

/** A file of the cache. */
export interface CachedFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** When it was last used, in milliseconds since 1970. */
  readonly usedMs: number;
}

/** Room for a transformer and a text encoder of the largest kind in several qtypes. */
const DEFAULT_LIMIT_BYTES = 40e9;
const SUFFIX = ".safetensors";

/** Where the cache is: HALFTONE_CACHE, or `halftone` in the system's folder for caches. */
export function weightCacheFolder(variables: NodeJS.ProcessEnv = process.env): string {
  if (variables.HALFTONE_CACHE) return path.resolve(variables.HALFTONE_CACHE);
  if (process.platform === "win32") return path.join(variables.LOCALAPPDATA ?? path.join(homedir(), "AppData", "Local"), "halftone");
  if (process.platform === "darwin") return path.join(homedir(), "Library", "Caches", "halftone");
  return path.join(variables.XDG_CACHE_HOME || path.join(homedir(), ".cache"), "halftone");
}

/**
 * The cache's limit in bytes: HALFTONE_CACHE_LIMIT (a number of bytes) or 40 GB.
 *
 * Errors: UsageError when the variable is no number.
 */
export function weightCacheLimit(variables: NodeJS.ProcessEnv = process.env): number {
  const text = variables.HALFTONE_CACHE_LIMIT;
  if (text === undefined || text === "") return DEFAULT_LIMIT_BYTES;
  const limit = Number(text);
  if (Number.isFinite(limit) && limit >= 0) return limit;
  throw new UsageError(`HALFTONE_CACHE_LIMIT must be a number of bytes, got ${JSON.stringify(text)}`);
}

/**
 * The file of a key, made by `make` if it is not there: it is given the path to write to, and must leave a whole file or none.
 *
 * Errors: FileError when the folder cannot be used or lies in memory; those of `make`.
 */
export async function cachedWeightFile(key: string, make: (file: string) => Promise<void>): Promise<string> {
  const folder = await openFolder();
  const file = path.join(folder, `${key}${SUFFIX}`);
  if ((await sizeOf(file)) === undefined) {
    await make(file);
    await shrink(file);
  }
  const now = new Date();
  // Someone else may delete it at any moment; then the caller's opening fails and says so.
  await utimes(file, now, now).catch(() => undefined);
  return file;
}

/** The cache's files, the most recently used first. */
export async function listWeightCache(): Promise<CachedFile[]> {
  const folder = weightCacheFolder();
  const names = await readdir(folder).catch(() => []);
  const files: CachedFile[] = [];
  for (const name of names.filter((candidate) => candidate.endsWith(SUFFIX) && !candidate.startsWith("."))) {
    const info = await stat(path.join(folder, name)).catch(() => undefined);
    if (info?.isFile()) files.push({ path: path.join(folder, name), sizeBytes: info.size, usedMs: info.mtimeMs });
  }
  return files.sort((a, b) => b.usedMs - a.usedMs);
}

/** Deletes all files of the cache and returns them. */
export async function clearWeightCache(): Promise<CachedFile[]> {
  const files = await listWeightCache();
  for (const file of files) await rm(file.path, { force: true });
  return files;
}

/** Deletes the longest unused files beyond the limit, but never the one just made. */
async function shrink(keep: string): Promise<void> {
  const limit = weightCacheLimit();
  let total = 0;
  for (const file of await listWeightCache()) {
    total += file.sizeBytes;
    if (total > limit && file.path !== keep) await rm(file.path, { force: true });
  }
}

async function openFolder(): Promise<string> {
  const folder = weightCacheFolder();
  try {
    await mkdir(folder, { recursive: true });
    if (!(await isMemoryBacked(folder))) return folder;
  } catch (cause) {
    throw new FileError(`the execution cache ${JSON.stringify(folder)} cannot be used: ${(cause as Error).message}`, { cause, hint: HINT });
  }
  throw new FileError(`the execution cache ${JSON.stringify(folder)} lies in memory, where it would save none`, { hint: HINT });
}

const HINT = "set HALFTONE_CACHE to a folder on a disk";

async function sizeOf(file: string): Promise<number | undefined> {
  return (await stat(file).catch(() => undefined))?.size;
}
