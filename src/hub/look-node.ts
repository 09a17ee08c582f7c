/** From what the user calls a model to a folder that is read where it lies: a model on the Hub is looked into by range, not downloaded. */
import { existsSync } from "node:fs";
import path from "node:path";
import { openFolder } from "../checkpoint/file-source-node.ts";
import { subfolder } from "../checkpoint/folder.ts";
import { isHubId, openHubFolder } from "./hub-node.ts";
import type { LocatedModel, LocateOptions } from "./locate-node.ts";

/**
 * Finds a model without fetching it; an existing folder wins over a Hub id of the same name.
 *
 * Errors: CheckpointError when there is no such folder; DownloadError; UsageError for an id or revision that cannot be one.
 */
export async function lookIntoModel(idOrFolder: string, options: LocateOptions): Promise<LocatedModel> {
  if (existsSync(idOrFolder) || !isHubId(idOrFolder)) {
    const folder = await openFolder(idOrFolder);
    return { folder: subfolder(folder, options.subfolder ?? ""), label: path.basename(path.resolve(idOrFolder)), revision: undefined };
  }
  const { localFilesOnly, ...rest } = options;
  const folder = await openHubFolder(idOrFolder, { ...rest, offline: localFilesOnly });
  // Its name is the address or the cached snapshot of one commit.
  return { folder, label: idOrFolder, revision: /[/\\]([0-9a-f]{40})(?=$|[/\\])/.exec(folder.name)?.[1] };
}
