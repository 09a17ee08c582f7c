/**
 * Files that are being downloaded, safe against other processes, kept when a download stops so that the next one goes on from there.
 *
 * While it is written, a partial file carries its owner in its name (`<blob>.<machine>-<pid>-<time and random>.incomplete`), so that nobody else
 * appends to it. A process that finds one with a living owner waits for the blob; one without is taken over by renaming it, which only one
 * process can do. Should two download the same file after all, both write files of their own and the second rename changes nothing: Python's
 * library works the same way, and its lock files are not needed for that.
 */

import { createHash, randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { type FileHandle, open, readdir, rename, stat, unlink, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { systemCode } from "../checkpoint/system-error.ts";
import { HalftoneError } from "../errors.ts";
import { cannotWrite } from "./cache-layout-node.ts";

/** After this time without a write the owner of a partial file is taken for dead. */
const OWNER_SILENCE_MS = 5 * 60_000;
const SUFFIX = ".incomplete";
const RESTING = ".halftone";
const OWNER = /\.([0-9a-f]{8})-(\d+)-([0-9a-f]{20})\.incomplete$/;

/** A partial file that belongs to us until it is released or becomes the blob. */
export interface PartialFile {
  readonly handle: FileHandle;
  readonly path: string;
  /** Bytes that an earlier download left. */
  readonly sizeBytes: number;
  /** Makes it the blob. */
  complete(): Promise<void>;
  /** Leaves it for the next download, unless it is empty. */
  release(): Promise<void>;
  /** Deletes it. */
  discard(): Promise<void>;
}

/**
 * Takes possession of the partial file of a blob, or waits while another download owns it.
 *
 * Returns undefined if `isThere` says that the blob has appeared meanwhile. `wait` pauses between two looks and throws if the caller
 * cancelled.
 */
export async function claimPartialFile(
  blob: string,
  isThere: () => Promise<boolean>,
  wait: () => Promise<void>,
): Promise<PartialFile | undefined> {
  const folder = dirname(blob);
  const age = Date.now().toString(16).padStart(12, "0");
  const mine = `${basename(blob)}.${machine()}-${process.pid}-${age}${randomBytes(4).toString("hex")}${SUFFIX}`;
  for (;;) {
    if (await isThere()) {
      return undefined;
    }
    const others = await survey(folder, basename(blob));
    if (others.some(({ alive }) => alive)) {
      await wait();
      continue;
    }
    const left = others.sort((a, b) => b.sizeBytes - a.sizeBytes);
    try {
      if (left[0] !== undefined) {
        await rename(join(folder, left[0].name), join(folder, mine));
      }
      await Promise.all(left.slice(1).map(({ name }) => unlink(join(folder, name)).catch(() => undefined)));
      const partial = await openPartial(folder, mine, blob);
      const rivals = (await survey(folder, basename(blob))).filter(({ name, alive }) => alive && name !== mine);
      if (partial.sizeBytes > 0 || !rivals.some(({ name, sizeBytes }) => sizeBytes > 0 || isOlder(name, mine))) {
        return partial;
      }
      await partial.discard();
      await wait();
    } catch (cause) {
      const takenByOther = systemCode(cause) === "ENOENT";
      if (!takenByOther || left.length === 0) {
        throw cause instanceof HalftoneError ? cause : cannotWrite(folder, cause);
      }
    }
  }
}

/** Returns how many bytes of a blob earlier downloads have left on disk. */
export async function leftoverBytes(blob: string): Promise<number> {
  const found = await survey(dirname(blob), basename(blob)).catch(() => []);
  return Math.max(0, ...found.map(({ sizeBytes }) => sizeBytes));
}

async function openPartial(folder: string, name: string, blob: string): Promise<PartialFile> {
  const path = join(folder, name);
  const handle = await open(path, "a");
  await utimes(path, new Date(), new Date());
  const { size } = await handle.stat();
  return {
    handle,
    path,
    sizeBytes: size,
    complete: async () => {
      await handle.close();
      await rename(path, blob);
    },
    release: async () => {
      await handle.close().catch(() => undefined);
      const kept = await stat(path).catch(() => undefined);
      await (kept?.size === 0 ? unlink(path) : rename(path, `${blob}${RESTING}${SUFFIX}`)).catch(() => undefined);
    },
    discard: async () => {
      await handle.close().catch(() => undefined);
      await unlink(path).catch(() => undefined);
    },
  };
}

/** Lists the partial files of a blob. */
async function survey(folder: string, blob: string): Promise<{ name: string; sizeBytes: number; alive: boolean }[]> {
  const names = (await readdir(folder)).filter(
    (name) => name === `${blob}${RESTING}${SUFFIX}` || (name.startsWith(`${blob}.`) && OWNER.test(name)),
  );
  const found = await Promise.all(
    names.map(async (name) => {
      const stats = await stat(join(folder, name)).catch(() => undefined);
      return stats === undefined ? [] : [{ name, sizeBytes: stats.size, alive: isAlive(name, stats.mtimeMs) }];
    }),
  );
  return found.flat();
}

function isAlive(name: string, writtenMs: number): boolean {
  const owner = OWNER.exec(name);
  if (owner === null || Date.now() - writtenMs > OWNER_SILENCE_MS) {
    return false;
  }
  const pid = Number(owner[2]);
  if (owner[1] !== machine()) {
    return true;
  }
  if (pid === process.pid) {
    // Another download of this process, unless an earlier process had the same number.
    return writtenMs >= Date.now() - process.uptime() * 1000;
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemCode(error) === "EPERM";
  }
}

function isOlder(name: string, than: string): boolean {
  const [mine, other] = [OWNER.exec(than)?.[3] ?? "", OWNER.exec(name)?.[3] ?? ""];
  return other < mine;
}

let machineId: string | undefined;

/** Process numbers mean something within one machine and one namespace of processes (a container has its own). */
function machine(): string {
  if (machineId === undefined) {
    let namespace = "";
    try {
      namespace = readlinkSync("/proc/self/ns/pid");
    } catch {
      // Only Linux has these.
    }
    machineId = createHash("sha256").update(`${hostname()} ${namespace}`).digest("hex").slice(0, 8);
  }
  return machineId;
}
