/**
 * From what the user calls a model (a folder, a Hub id) to a folder that can be read.
 */
import { existsSync } from "node:fs";
import path from "node:path";
import type { Folder } from "../checkpoint/byte-source.ts";
import { openFolder } from "../checkpoint/file-source-node.ts";
import { subfolder } from "../checkpoint/folder.ts";
import { type HubEvent, isHubId, openHubFolder, resolveModel } from "./hub-node.ts";

/** Where a model is looked for. */
export interface LocateOptions {
  /** Branch, tag or commit of a Hub id. Default "main". */
  revision?: string | undefined;
  /** Prefers files such as `diffusion_pytorch_model.fp16.safetensors`. */
  variant?: string | undefined;
  /** Folder inside the model that holds the pipeline or part. */
  subfolder?: string | undefined;
  /** Access token of the Hub; default: where Python's tools look (HF_TOKEN, the token file). */
  token?: string | undefined;
  /** Where downloads are kept; default: the cache that Python's tools share. */
  cacheDir?: string | undefined;
  /** Uses what is cached and never the network. */
  localFilesOnly?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** A model's folder, and what it is to be called in recipes and messages. */
export interface LocatedModel {
  readonly folder: Folder;
  /** The Hub id, or the name of the folder without its path. */
  readonly label: string;
  /** Commit of a Hub id. */
  readonly revision: string | undefined;
}

/**
 * Finds a model: an existing folder wins over a Hub id of the same name, as in diffusers.
 *
 * `selection.needs` tells which components of a pipeline are wanted, so that a part that the caller brings is not downloaded;
 * `selection.checkIndex` refuses a pipeline before its weights are fetched.
 * Errors: CheckpointError when there is no such folder; DownloadError; UsageError for an id or revision that cannot be one.
 */
export async function locateModel(
  idOrFolder: string,
  options: LocateOptions,
  onEvent?: (event: HubEvent) => void,
  selection: { needs?: (component: string, className: string) => boolean; checkIndex?: (text: string, where: string) => void } = {},
): Promise<LocatedModel> {
  const local = await locateFolder(idOrFolder, options);
  if (local !== undefined) return local;
  const { localFilesOnly, ...rest } = options;
  const found = await resolveModel(idOrFolder, { ...rest, offline: localFilesOnly, ...selection, onProgress: onEvent });
  return { folder: await openFolder(found.folder), label: idOrFolder, revision: found.commit };
}

/**
 * Finds a model without fetching it: what is on the Hub is read by range, where it lies.
 *
 * Errors: as locateModel.
 */
export async function lookIntoModel(idOrFolder: string, options: LocateOptions): Promise<LocatedModel> {
  const local = await locateFolder(idOrFolder, options);
  if (local !== undefined) return local;
  const { localFilesOnly, ...rest } = options;
  const folder = await openHubFolder(idOrFolder, { ...rest, offline: localFilesOnly });
  // Its name is the address or the cached snapshot of one commit.
  return { folder, label: idOrFolder, revision: /[/\\]([0-9a-f]{40})(?=$|[/\\])/.exec(folder.name)?.[1] };
}

/** The folder of that name, or undefined for what can only be a Hub id. */
async function locateFolder(idOrFolder: string, options: LocateOptions): Promise<LocatedModel | undefined> {
  if (!existsSync(idOrFolder) && isHubId(idOrFolder)) return undefined;
  const folder = await openFolder(idOrFolder);
  return { folder: subfolder(folder, options.subfolder ?? ""), label: path.basename(path.resolve(idOrFolder)), revision: undefined };
}
