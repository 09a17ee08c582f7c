/**
 * Names that the Hub gives to things: repositories ("owner/name"), commits, revisions, and paths of files inside a repository.
 *
 * Everything that comes from a server or a user and later becomes part of a path on disk is checked here.
 * Source: huggingface_hub utils/_validators.py and _local_folder.py@2.4.0; differs: the owner is required.
 */

import { DownloadError, UsageError } from "../errors.ts";

const PART = /^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?$/;

/** Tells whether a text can be a model id of the Hub, "owner/name"; a folder of that name may exist as well, so look for it first. */
export function isHubId(text: string): boolean {
  const parts = text.split("/");
  return (
    parts.length === 2 && parts.every((part) => PART.test(part)) && !text.includes("--") && !text.includes("..") && !text.endsWith(".git")
  );
}

/** Tells whether a revision is a full commit hash, which never changes its meaning. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** Returns the name of a repository's folder in the cache: "models--owner--name". */
export function repositoryFolderName(id: string): string {
  return `models--${id.replace("/", "--")}`;
}

/**
 * Tells whether a path stays inside the folder that it is joined to, on every operating system.
 *
 * Refused: empty names, "." and "..", a leading "/" or drive letter, backslashes and control characters.
 */
export function isSafePath(path: string): boolean {
  return path.split("/").every((part) => part !== "" && part !== "." && part !== ".." && !/^[A-Za-z]:/.test(part) && isPlain(part));
}

function isPlain(part: string): boolean {
  for (const character of part) {
    if (character === "\\" || character < " " || character === "\u007f") {
      return false;
    }
  }
  return true;
}

/** Throws a UsageError if an id, revision, variant or subfolder of a caller can't be one. */
export function checkReference(id: string, reference: { revision: string; variant: string | undefined; subfolder: string }): void {
  if (!isHubId(id)) {
    throw new UsageError(`"${id}" is not a model id, expected "owner/name"`, {
      hint: "a local checkpoint is given by the path of its folder",
    });
  }
  if (!isSafePath(reference.revision) || /[\s?#]/.test(reference.revision)) {
    throw new UsageError(`"${reference.revision}" is not a revision, expected a branch, a tag or a commit`, { where: id });
  }
  if (reference.variant !== undefined && !/^[A-Za-z0-9_.-]+$/.test(reference.variant)) {
    throw new UsageError(`"${reference.variant}" is not a variant, expected a word such as "fp16"`, { where: id });
  }
  if (reference.subfolder !== "" && !isSafePath(reference.subfolder)) {
    throw new UsageError(`"${reference.subfolder}" is not a subfolder, expected a relative path such as "transformer"`, { where: id });
  }
}

/** Throws a DownloadError if a path that a server named would leave the folder that it is written to. */
export function checkServerPath(path: string, id: string): void {
  if (!isSafePath(path)) {
    throw new DownloadError(`the repository names a file ${JSON.stringify(path)}, which would be written outside of its folder`, {
      where: id,
    });
  }
}
