/** What can go wrong when a file or folder is written, in words. */
import { dirname } from "node:path";
import { FileError, HalftoneError } from "../errors.ts";
import { systemCode } from "./system-error.ts";

/** Turns what the system says into an error that names the path; errors of our own stay as they are. */
export function writeFailure(path: string, cause: unknown): HalftoneError {
  if (cause instanceof HalftoneError) return cause;
  const folder = dirname(path);
  switch (systemCode(cause)) {
    case "ENOSPC":
    case "EDQUOT":
      return new FileError(`the disk is full: "${path}" was not written`, {
        where: path,
        hint: "free some space or write to another disk",
        cause,
      });
    case "EACCES":
    case "EPERM":
      return new FileError(`no permission to write "${path}"`, { where: path, hint: `look at the permissions of "${folder}"`, cause });
    case "EROFS":
      return new FileError(`"${folder}" is on a read-only disk`, { where: path, cause });
    case "ENOENT":
    case "ENOTDIR":
      return new FileError(`folder "${folder}" does not exist`, { where: path, hint: "make the folder first", cause });
    case "ENAMETOOLONG":
      return new FileError(`the file name "${path.slice(0, 60)}…" is longer than the disk allows`, { cause });
    default:
      return new FileError(`"${path}" cannot be written (${systemCode(cause) ?? String(cause)})`, { where: path, cause });
  }
}
