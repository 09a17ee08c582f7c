/**
 * A folder that is there whole or not at all: it grows under a hidden name beside its own and takes that at the end.
 *
 * A folder that is replaced steps aside under a hidden name first, so that at any moment the old one or the new one is there in full, under
 * one name or the other. What a killed process left behind is swept by the next one: what it had begun is removed, what had stepped aside
 * takes its name again if nothing else has.
 */
import { constants } from "node:fs";
import { access, copyFile, link, mkdir, open, readdir, realpath, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve, sep } from "node:path";
import { FileError, UsageError } from "../errors.ts";
import type { ByteSource } from "./byte-source.ts";
import { forgetHidden, hiddenName, removeHidden, statIfPresent, sweep } from "./hidden-folders-node.ts";
import { systemCode } from "./system-error.ts";
import { writeFailure } from "./write-failure-node.ts";

/** How a folder may take its place. */
export interface StagedFolderOptions {
  /** Replaces an existing folder of the same kind. */
  readonly force?: boolean | undefined;
  /** What kind of folder may be replaced: in words ("a model"), and the files of which such a folder holds one. Default: a model's. */
  readonly kind?: FolderKind | undefined;
  /** Folders that are read while this one is written: they are never replaced. */
  readonly sources?: readonly string[] | undefined;
  /** Bytes that will be written: too few on the disk are found out before the work. */
  readonly expectedBytes?: number | undefined;
}

/** Bytes copied at a time from a source without a file. */
const PIECE_BYTES = 8 * 2 ** 20;

/** A folder that is known by its files. */
export interface FolderKind {
  readonly name: string;
  readonly files: readonly string[];
}

const MODEL: FolderKind = { name: "a model", files: ["model_index.json", "config.json"] };

/** A folder under way. */
export class StagedFolder {
  /** Where it will be. */
  readonly target: string;
  /** Where it is until then. */
  readonly path: string;
  readonly #force: boolean;

  private constructor(target: string, path: string, force: boolean) {
    this.target = target;
    this.path = path;
    this.#force = force;
  }

  /**
   * Begins a folder, after sweeping what killed processes left of it.
   *
   * Errors: FileError when the folder's place is missing, read-only or too full, or holds files that are not a model's; UsageError when it
   * is taken and may not be replaced.
   */
  static async create(path: string, options: StagedFolderOptions = {}): Promise<StagedFolder> {
    const target = await realTarget(path);
    await sweep(target);
    await checkTarget(path, target, options);
    await checkSpace(path, dirname(target), options.expectedBytes ?? 0);
    const hidden = hiddenName(target, "new");
    try {
      await mkdir(hidden);
    } catch (cause) {
      forgetHidden(hidden);
      throw writeFailure(path, cause);
    }
    return new StagedFolder(target, hidden, options.force === true);
  }

  /** Makes a folder inside. */
  async makeFolder(name: string): Promise<void> {
    await mkdir(join(this.path, name), { recursive: true }).catch((cause: unknown) => {
      throw writeFailure(join(this.target, name), cause);
    });
  }

  /** Writes a small file. */
  async writeText(name: string, text: string): Promise<void> {
    await this.writeBytes(name, new TextEncoder().encode(text));
  }

  /** Writes a file whose bytes are in memory. */
  async writeBytes(name: string, bytes: Uint8Array): Promise<void> {
    try {
      await writeFile(join(this.path, name), bytes, { flush: true });
    } catch (cause) {
      throw writeFailure(join(this.target, name), cause);
    }
  }

  /**
   * Takes a file over: weights as a second name of the same bytes where the disk can do that, else as a copy. What people may edit is copied.
   *
   * Errors: FileError; those of reading.
   */
  async take(source: ByteSource, name: string, signal?: AbortSignal): Promise<void> {
    const path = join(this.path, name);
    try {
      const { file } = source;
      if (file === undefined) await copySource(source, path, signal);
      else if (name.endsWith(".safetensors")) await linkOrCopy(join(file.folder, file.fileName), path);
      else await copyFile(join(file.folder, file.fileName), path);
    } catch (cause) {
      throw writeFailure(join(this.target, name), cause);
    }
  }

  /**
   * Gives the folder its name.
   *
   * Errors: UsageError when another folder has taken it in the meantime; FileError. The hidden folder is removed then.
   */
  async finish(): Promise<void> {
    try {
      await syncTree(this.path);
      await this.#takeName();
      await syncFolder(dirname(this.target));
    } catch (cause) {
      await this.abort();
      throw writeFailure(this.target, cause);
    }
    forgetHidden(this.path);
  }

  /** Removes what was written; idempotent. */
  async abort(): Promise<void> {
    await rm(this.path, { recursive: true, force: true }).catch(() => {});
    forgetHidden(this.path);
  }

  async #takeName(): Promise<void> {
    // Others may do the same at the same time: then whoever comes last stays.
    for (let attempt = 0; attempt < 100; attempt++) {
      if (await renameInto(this.path, this.target)) return;
      if (!this.#force) throw taken(this.target);
      const old = hiddenName(this.target, "old");
      const isAside = await rename(this.target, old).then(
        () => true,
        (cause: unknown) => {
          if (systemCode(cause) !== "ENOENT") throw cause;
          return false;
        },
      );
      try {
        const isThere = await renameInto(this.path, this.target);
        if (isAside) await removeHidden(this.target, old);
        if (isThere) return;
      } catch (cause) {
        if (isAside) await rename(old, this.target).catch(() => {});
        throw cause;
      } finally {
        forgetHidden(old);
      }
    }
    throw new FileError(`"${this.target}" is being written by other processes all the time`, { where: this.target });
  }
}

/** Gives a folder a name that is free or an empty folder's; false where it is not. */
async function renameInto(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (cause) {
    // Windows says EPERM of a name that is taken, and of much else.
    if (["ENOTEMPTY", "EEXIST"].includes(systemCode(cause) ?? "")) return false;
    if (systemCode(cause) === "EPERM" && (await statIfPresent(to)) !== undefined) return false;
    throw cause;
  }
}

/** The folder that a path means, links followed; its last name need not exist. */
async function realTarget(path: string): Promise<string> {
  const full = resolve(path);
  const existing = await realpath(full).catch(() => undefined);
  if (existing !== undefined) return existing;
  const parent = await realpath(dirname(full)).catch((cause: unknown) => {
    throw writeFailure(path, cause);
  });
  return join(parent, basename(full));
}

async function checkTarget(path: string, target: string, { force, kind = MODEL, sources = [] }: StagedFolderOptions): Promise<void> {
  const info = await statIfPresent(target);
  const parent = dirname(target);
  if (!(await stat(parent)).isDirectory()) throw new FileError(`"${parent}" is a file, expected a folder`, { where: path });
  await access(parent, constants.W_OK | constants.X_OK).catch((cause: unknown) => {
    throw writeFailure(path, cause);
  });
  if (info === undefined) return;
  if (!info.isDirectory()) throw new FileError(`"${path}" is a file, expected a folder`, { where: path, hint: "choose another name" });
  const names = await readdir(target);
  if (names.length === 0) return;
  if (force !== true) throw taken(path);
  if (!kind.files.some((name) => names.includes(name))) {
    throw new FileError(`folder "${path}" holds files that are not ${kind.name}'s, so it is not replaced`, {
      where: path,
      hint: "choose another folder",
    });
  }
  for (const source of sources) {
    const real = await realpath(source).catch(() => resolve(source));
    if (isInside(real, target) || isInside(target, real)) {
      throw new UsageError(`"${path}" is the model that is read, so it is not replaced`, { where: path, hint: "choose another folder" });
    }
  }
}

function taken(path: string): UsageError {
  return new UsageError(`folder "${path}" exists and is not empty`, {
    where: path,
    hint: "choose another folder, or replace it with --force",
  });
}

function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
}

async function checkSpace(path: string, parent: string, expectedBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(parent);
  const free = bavail * bsize;
  if (free >= expectedBytes) return;
  throw new FileError(`the disk of "${path}" has ${free} bytes free, expected at least ${expectedBytes}`, {
    where: path,
    hint: "free some space or write to another disk",
  });
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to);
  } catch {
    // Another disk, a disk without links, or a file of another owner.
    await copyFile(from, to, constants.COPYFILE_FICLONE);
  }
}

async function copySource(source: ByteSource, path: string, signal: AbortSignal | undefined): Promise<void> {
  const file = await open(path, "wx");
  try {
    for (let done = 0; done < source.sizeBytes; done += PIECE_BYTES) {
      await file.writeFile(await source.read(done, Math.min(PIECE_BYTES, source.sizeBytes - done), signal));
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await syncTree(join(folder, entry.name));
  }
  await syncFolder(folder);
}

/** Names of a folder reach the disk; where folders cannot be opened (Windows) that is left to the system. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r").catch(() => undefined);
  try {
    await handle?.sync().catch(() => {});
  } finally {
    await handle?.close();
  }
}
