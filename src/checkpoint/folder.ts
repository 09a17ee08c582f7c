/**
 * Paths inside a checkpoint's folder. They come from files that anyone may have written (an index names its shards), so each is checked
 * before it is used: relative, "/" between names, never upwards.
 */
import { CheckpointError } from "../errors.ts";
import type { Folder } from "./byte-source.ts";
import { quote } from "./stored-tensor.ts";

/** Throws CheckpointError unless a path stays inside its folder. */
export function checkPath(path: string, where: string): void {
  const names = path.split("/");
  const isInside = names.every((name) => name !== "" && name !== "." && name !== "..") && !/[\\\0]/.test(path) && !/^[A-Za-z]:/.test(path);
  if (!isInside) {
    throw new CheckpointError(`path ${quote(path)} is not inside the model folder, expected a relative path of plain names`, { where });
  }
}

/** Sees a folder inside a folder as a folder of its own; an empty path is the folder itself. */
export function subfolder(folder: Folder, path: string): Folder {
  if (path === "") return folder;
  checkPath(path, folder.name);
  const prefix = `${path}/`;
  const fullName = `${folder.name}/${path}`;
  return {
    name: fullName,
    async open(name) {
      checkPath(name, fullName);
      return folder.open(prefix + name);
    },
    list: async () => (await folder.list()).filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
  };
}
