/**
 * Hidden folders beside the one that is meant: what is being written (".new") and what has been moved aside (".old").
 *
 * A process can be killed at any moment. Names tell who it was and what was meant, so that the next one can clean up: what is new is
 * removed, what is old takes its name again if that is free.
 */
import { createHash, randomBytes } from "node:crypto";
import { readdir, rename, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { systemCode } from "./system-error.ts";
import { writeFailure } from "./write-failure-node.ts";

/** The hidden folders of this process. */
const own = new Set<string>();

/** The folder is this process's no more. */
export function forgetHidden(path: string): void {
  own.delete(path);
}

/** Removes a folder that was moved aside: as one to be removed, first, since a part of it must never take the name again. */
export async function removeHidden(target: string, old: string): Promise<void> {
  const doomed = hiddenName(target, "new");
  try {
    await rename(old, doomed);
    await rm(doomed, { recursive: true, force: true });
  } finally {
    own.delete(doomed);
  }
}

/** A new hidden name; names tell whose they are: a machine, a process, and the folder that is meant (a name of fixed length: it may be long already). */
export function hiddenName(target: string, kind: "new" | "old"): string {
  const path = join(dirname(target), `${prefixOf(target)}-${process.pid}-${randomBytes(4).toString("hex")}.${kind}`);
  own.add(path);
  return path;
}

function prefixOf(target: string): string {
  const digest = (text: string) => createHash("sha256").update(text).digest("hex");
  return `.halftone-${digest(basename(target)).slice(0, 12)}-${digest(hostname()).slice(0, 8)}`;
}

/** Removes what processes that are gone had begun, and gives back what they had moved aside. */
export async function sweep(target: string): Promise<void> {
  const parent = dirname(target);
  const names = await readdir(parent).catch(() => []);
  const prefix = `${prefixOf(target)}-`;
  const stale = names.filter((name) => name.startsWith(prefix) && isStale(join(parent, name), name.slice(prefix.length)));
  for (const name of stale.filter((name) => name.endsWith(".old"))) {
    // A free name is taken by one rename: no moment without the folder.
    if ((await statIfPresent(target)) === undefined) await rename(join(parent, name), target).catch(() => {});
    else await removeHidden(target, join(parent, name)).catch(() => {});
  }
  for (const name of stale.filter((name) => name.endsWith(".new"))) {
    await rm(join(parent, name), { recursive: true, force: true }).catch(() => {});
  }
}

function isStale(path: string, rest: string): boolean {
  const pid = /^(\d+)-[0-9a-f]{8}\.(?:new|old)$/.exec(rest)?.[1];
  if (pid === undefined) return false;
  // In containers every process may have the same number: ours, but not our folder.
  if (Number(pid) === process.pid) return !own.has(path);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (cause) {
    return systemCode(cause) === "ESRCH";
  }
}

/** What is there, links followed; undefined if nothing is. */
export async function statIfPresent(path: string) {
  try {
    return await stat(path);
  } catch (cause) {
    if (systemCode(cause) === "ENOENT") return undefined;
    throw writeFailure(path, cause);
  }
}
