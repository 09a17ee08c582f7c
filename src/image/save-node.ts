/**
 * Writes files whole or not at all, one or several together: hidden neighbours are written first and take the files' places when the last
 * byte of the last one is on the disk.
 *
 * Several renamings are not one: what a failing one finds done is undone from what was kept of the old files. Only a process that is killed
 * between two renamings leaves some files new and some old, each of them whole.
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { access, copyFile, link, open, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isMissing } from "../checkpoint/system-error.ts";
import { writeFailure } from "../checkpoint/write-failure-node.ts";
import { FileError } from "../errors.ts";

/** A file to write; its bytes are asked for when its turn comes, so that those of all files need not lie in memory together. */
export interface FileToWrite {
  readonly path: string;
  readonly bytes: () => Uint8Array;
}

/**
 * Writes bytes to a file; an existing file is replaced only once the new one is whole, a symbolic link is followed.
 *
 * Errors: FileError when the folder is missing or read-only, the path is a folder, or the disk is full; no file is left behind.
 */
export async function writeWholeFile(path: string, bytes: Uint8Array): Promise<void> {
  await writeWholeFiles([{ path, bytes: () => bytes }]);
}

/**
 * Writes several files, all or none, each as writeWholeFile does.
 *
 * Errors: FileError for the first file that cannot be written; no new file is left behind, and every old one is what it was.
 */
export async function writeWholeFiles(files: readonly FileToWrite[]): Promise<void> {
  for (const { path } of files) await checkWritableFile(path);
  const hidden = new Set<string>();
  try {
    const staged: StagedFile[] = [];
    for (const file of files) staged.push(await stage(file, hidden));
    // A single renaming is all or nothing by itself.
    if (staged.length > 1) for (const file of staged) file.old = await keepOld(file, hidden);
    await putInPlace(staged, hidden);
  } finally {
    for (const path of hidden) await rm(path, { force: true }).catch(() => {});
  }
}

/** A file that is written, but not yet in its place. */
interface StagedFile {
  /** As the caller calls it, and what it is behind a symbolic link. */
  readonly path: string;
  readonly target: string;
  readonly part: string;
  /** The file that is replaced, kept under a hidden name; undefined if there is none. */
  old?: string | undefined;
}

async function stage({ path, bytes }: FileToWrite, hidden: Set<string>): Promise<StagedFile> {
  const content = bytes();
  const target = await realpath(path).catch(() => path);
  const part = hiddenNeighbour(target, "part", hidden);
  try {
    const file = await open(part, "wx");
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw writeFailure(path, cause);
  }
  return { path, target, part };
}

/** Gives an old file a second, hidden name; where that cannot be, it is copied. */
async function keepOld({ path, target }: StagedFile, hidden: Set<string>): Promise<string | undefined> {
  const existing = await statIfPresent(target);
  if (existing?.isFile() !== true) return undefined;
  const kept = hiddenNeighbour(target, "old", hidden);
  // In a folder such as /tmp, a second name of another user's file could not be removed again.
  const isOwn = process.getuid === undefined || process.getuid() === existing.uid;
  const isLinked =
    isOwn &&
    (await link(target, kept).then(
      () => true,
      () => false,
    ));
  if (!isLinked) {
    await copyFile(target, kept, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE).catch((cause) => {
      throw writeFailure(path, cause);
    });
  }
  return kept;
}

async function putInPlace(staged: readonly StagedFile[], hidden: Set<string>): Promise<void> {
  const done: StagedFile[] = [];
  for (const file of staged) {
    try {
      await rename(file.part, file.target);
      done.push(file);
    } catch (cause) {
      for (const { target, old } of done.reverse()) {
        if (old === undefined) await rm(target, { force: true }).catch(() => {});
        // What cannot be put back is better found under its hidden name than lost.
        else await rename(old, target).catch(() => hidden.delete(old));
      }
      throw writeFailure(file.path, cause);
    }
  }
}

/** A short name of its own: a long name with something added might be too long. */
function hiddenNeighbour(target: string, ending: string, hidden: Set<string>): string {
  const path = join(dirname(target), `.halftone-${randomBytes(6).toString("hex")}.${ending}`);
  hidden.add(path);
  return path;
}

/**
 * Finds out whether a file could be written, without touching it: called before hours of work, not after.
 *
 * Errors: FileError as writeWholeFile, the full disk aside.
 */
export async function checkWritableFile(path: string): Promise<void> {
  const folder = dirname(path);
  const existing = await statIfPresent(path);
  if (existing?.isDirectory() || /[/\\]$/.test(path)) {
    throw new FileError(`"${path}" is a folder, expected the name of a file`, { where: path, hint: "add a file name to it" });
  }
  if (existing !== undefined && !existing.isFile()) {
    throw new FileError(`"${path}" is not a regular file, so it is not replaced`, { where: path });
  }
  const parent = await statIfPresent(folder);
  if (parent === undefined) {
    throw new FileError(`folder "${folder}" does not exist`, { where: path, hint: "make the folder first" });
  }
  if (!parent.isDirectory()) throw new FileError(`"${folder}" is a file, expected a folder`, { where: path });
  try {
    const target = existing === undefined ? path : await realpath(path);
    if (existing !== undefined) await access(target, constants.W_OK);
    await access(dirname(target), constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw writeFailure(path, cause);
  }
}

async function statIfPresent(path: string) {
  try {
    return await stat(path);
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw writeFailure(path, cause);
  }
}
