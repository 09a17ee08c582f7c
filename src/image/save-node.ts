/**
 * Writes a file whole or not at all: a hidden neighbour is written first and takes the file's place when its last byte is on the disk.
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { access, open, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { systemCode, writeFailure } from "../checkpoint/write-failure-node.ts";
import { FileError } from "../errors.ts";

/**
 * Writes bytes to a file; an existing file is replaced only once the new one is whole, a symbolic link is followed.
 *
 * Errors: FileError when the folder is missing or read-only, the path is a folder, or the disk is full; no file is left behind.
 */
export async function writeWholeFile(path: string, bytes: Uint8Array): Promise<void> {
  await checkWritableFile(path);
  const target = await realpath(path).catch(() => path);
  // A short name of its own: a long name with something added might be too long.
  const part = join(dirname(target), `.halftone-${randomBytes(6).toString("hex")}.part`);
  try {
    const file = await open(part, "wx");
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, target);
  } catch (cause) {
    await rm(part, { force: true }).catch(() => {});
    throw writeFailure(path, cause);
  }
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
    const code = systemCode(cause);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw writeFailure(path, cause);
  }
}
