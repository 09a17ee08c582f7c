/**
 * The cache on disk, in the layout of Python's huggingface_hub, so that both share one copy of a model.
 *
 *   models--owner--name/blobs/<hash>              content, named by its ETag
 *   models--owner--name/snapshots/<commit>/<path> relative link to a blob (a plain file where links don't work)
 *   models--owner--name/refs/<revision>           the commit that a branch or tag stood for when it was last seen
 *   models--owner--name/trees/<commit>.json       all files of the commit
 *
 * Everything appears under its final name only when it is complete. Source: huggingface_hub file_download.py@2.4.0.
 */

import { randomBytes } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, readlink, rename, stat, symlink, unlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { isMissing, systemCode } from "../checkpoint/system-error.ts";
import { FileError } from "../errors.ts";
import { checkServerPath, isCommit, repositoryFolderName } from "./hub-id.ts";
import { blobName, type HubFile, type Listing, parseCachedListing, printCachedListing } from "./listing.ts";

const TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache of model files; backups may leave it out.\n";

/** One repository in the cache. */
export class CachedRepository {
  readonly id: string;
  readonly cacheFolder: string;
  readonly folder: string;
  readonly #links: boolean;

  constructor(cacheFolder: string, id: string, links: boolean) {
    this.id = id;
    this.cacheFolder = cacheFolder;
    this.folder = join(cacheFolder, repositoryFolderName(id));
    this.#links = links;
  }

  /** Path of a file's content. */
  blobPath(file: HubFile): string {
    return join(this.folder, "blobs", blobName(file));
  }

  /** Path of a commit's folder. */
  snapshotFolder(commit: string): string {
    return join(this.folder, "snapshots", commit);
  }

  /** Path of a file in a commit's folder; refuses to leave the folder. */
  pointerPath(commit: string, path: string): string {
    checkServerPath(path, this.id);
    return join(this.snapshotFolder(commit), ...path.split("/"));
  }

  /** Makes the folders that a download needs. */
  async prepare(): Promise<void> {
    try {
      await mkdir(join(this.folder, "blobs"), { recursive: true });
      await writeFile(join(this.cacheFolder, "CACHEDIR.TAG"), TAG, { flag: "wx" }).catch(() => undefined);
    } catch (cause) {
      throw cannotWrite(this.cacheFolder, cause);
    }
  }

  /** Returns the commit that a revision stood for when it was last seen. */
  async readCommit(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) {
      return revision;
    }
    const text = (await readText(join(this.folder, "refs", ...revision.split("/"))))?.trim();
    return text !== undefined && isCommit(text) ? text : undefined;
  }

  /** Remembers the commit that a revision stands for; a cache that can't be written (a read-only share) stays as it is. */
  async writeCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit || (await this.readCommit(revision)) === commit) {
      return;
    }
    await writeWhole(join(this.folder, "refs", ...revision.split("/")), commit).catch(() => undefined);
  }

  /** Returns the list of a commit's files if it is known. */
  async readListing(commit: string): Promise<Listing | undefined> {
    const text = await readText(join(this.folder, "trees", `${commit}.json`));
    return text === undefined ? undefined : parseCachedListing(text);
  }

  /** Remembers the list of a commit's files. */
  async writeListing(commit: string, listing: Listing): Promise<void> {
    await writeWhole(join(this.folder, "trees", `${commit}.json`), printCachedListing(listing)).catch((cause) => {
      throw cannotWrite(this.cacheFolder, cause);
    });
  }

  /** Returns the paths of a commit's files that are here, relative, with "/" between names, sorted. */
  async listSnapshot(commit: string): Promise<string[]> {
    const root = this.snapshotFolder(commit);
    const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
    const paths = entries.filter((entry) => !entry.isDirectory()).map((entry) => relative(root, join(entry.parentPath, entry.name)));
    return paths.map((path) => path.replaceAll("\\", "/")).sort();
  }

  /** Tells whether a file of a commit is here, whole as far as its size tells (any size if it is not known). */
  async has(commit: string, path: string, sizeBytes: number | undefined): Promise<boolean> {
    return isWhole(this.pointerPath(commit, path), sizeBytes);
  }

  /** Tells whether a file's content is here, under whatever name. */
  async hasBlob(file: HubFile): Promise<boolean> {
    return isWhole(this.blobPath(file), file.sizeBytes);
  }

  /**
   * Puts a blob into a commit's folder: by a relative link, else (Windows without the right to make links) as a plain file.
   *
   * A new blob is moved there, since nothing else can refer to it; an old one is copied.
   */
  async point(commit: string, file: HubFile, isNew: boolean): Promise<void> {
    const pointer = this.pointerPath(commit, file.path);
    const blob = this.blobPath(file);
    try {
      await mkdir(dirname(pointer), { recursive: true });
      if (this.#links && (await tryLink(relative(dirname(pointer), blob), pointer))) {
        return;
      }
      await unlink(pointer).catch(() => undefined);
      if (isNew) {
        await rename(blob, pointer);
        return;
      }
      const temporary = temporaryName(pointer);
      await copyFile(blob, temporary);
      await rename(temporary, pointer);
    } catch (cause) {
      throw cannotWrite(pointer, cause);
    }
  }
}

/** Makes the FileError for a place in the cache that can't be written. */
export function cannotWrite(where: string, cause: unknown): FileError {
  const reasons: Record<string, string> = {
    ENOSPC: "the disk is full",
    EDQUOT: "the quota is used up",
    EACCES: "permission is denied",
    EPERM: "permission is denied",
    EROFS: "the file system is read-only",
    ENOTDIR: "a file is in the way of a folder",
    EEXIST: "a file is in the way of a folder",
  };
  return new FileError(`the cache of models can't be written: ${reasons[systemCode(cause) ?? ""] ?? String(cause)}`, {
    where,
    hint: "HF_HUB_CACHE names another folder for it",
    cause,
  });
}

async function tryLink(target: string, pointer: string): Promise<boolean> {
  for (let tries = 0; tries < 3; tries++) {
    try {
      await symlink(target, pointer);
      return true;
    } catch (error) {
      if (systemCode(error) !== "EEXIST") {
        return false;
      }
      if ((await readlink(pointer).catch(() => "")) === target) {
        return true;
      }
      await unlink(pointer).catch(() => undefined);
    }
  }
  return false;
}

async function isWhole(path: string, sizeBytes: number | undefined): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() === true && (sizeBytes === undefined || found.size === sizeBytes);
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (isMissing(cause)) {
      return undefined;
    }
    throw new FileError("a file of the cache can't be read", { where: path, cause });
  }
}

async function writeWhole(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = temporaryName(path);
  try {
    await writeFile(temporary, text);
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

function temporaryName(path: string): string {
  return `${path}.${randomBytes(4).toString("hex")}.tmp`;
}
