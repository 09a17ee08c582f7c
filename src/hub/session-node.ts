/**
 * One call on one repository: what the caller asked for, the client, the cache, and which of the repository's files that means.
 */

import { readFile, statfs } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointError } from "../errors.ts";
import { CachedRepository } from "./cache-layout-node.ts";
import {
  cacheFolder,
  cleanToken,
  findToken,
  hubEndpoint,
  isOffline,
  linksDisabled,
  silenceLimitMs,
  type Variables,
} from "./environment-node.ts";
import { HubClient } from "./hub-client.ts";
import { checkReference, isCommit } from "./hub-id.ts";
import type { Listing } from "./listing.ts";
import { parsePipelineIndex, type Selection, selectComponentFiles, selectPipelineFiles } from "./select-files.ts";

/** What a download reports. */
export type HubEvent =
  | {
      readonly type: "download";
      /** Path of the file inside the repository. */
      readonly file: string;
      readonly receivedBytes: number;
      readonly totalBytes: number;
      /** The same over all files that are being fetched. */
      readonly overallReceivedBytes: number;
      readonly overallTotalBytes: number;
    }
  | { readonly type: "warning"; readonly message: string };

/** Which model, and how to get it. */
export interface HubOptions {
  /** Branch, tag or commit; "main" by default. */
  readonly revision?: string | undefined;
  /** Variant of the weights, such as "fp16"; components that lack it give their plain weights. */
  readonly variant?: string | undefined;
  /** Folder inside the repository that holds the model. */
  readonly subfolder?: string | undefined;
  /** Access token, or false for none; by default the one that Python's library finds. */
  readonly token?: string | false | undefined;
  readonly cacheDir?: string | undefined;
  /** Use the cache only; HF_HUB_OFFLINE says the same for all calls. */
  readonly offline?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((event: HubEvent) => void) | undefined;
  /** Shown model_index.json before anything large is fetched: throws for a model that the caller cannot use. */
  readonly checkIndex?: ((text: string, where: string) => void) | undefined;
  /** Tells whether a component is wanted; all are by default. */
  readonly needs?: ((component: string, className: string) => boolean) | undefined;
}

/** A model in the cache. */
export interface ResolvedModel {
  /** Folder with model_index.json, or with config.json of a single component. */
  readonly folder: string;
  readonly commit: string;
  readonly revision: string;
}

/** The surroundings of a download, replaced in tests. */
export interface HubSurroundings {
  readonly variables: Variables;
  readonly fetch: typeof fetch;
  readonly freeBytes: (folder: string) => Promise<number>;
  readonly retryDelayMs: number;
}

/** The real surroundings. */
export const hubSurroundings: HubSurroundings = {
  variables: process.env,
  fetch: (input, init) => fetch(input, init),
  freeBytes: async (folder) => {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  },
  retryDelayMs: 1000,
};

/** A call under way. */
export interface Session {
  readonly client: HubClient;
  readonly cached: CachedRepository;
  readonly selection: Selection;
  readonly report: (event: HubEvent) => void;
  readonly surroundings: HubSurroundings;
  /** Stops all transfers of the call. */
  readonly stop: () => void;
  readonly offline: boolean;
  readonly checkIndex: ((text: string, where: string) => void) | undefined;
}

/**
 * Starts a call: checks what the caller asked for and reads the environment; nothing is sent or written yet.
 *
 * Errors: UsageError; FileError when the token file can't be read.
 */
export async function openSession(id: string, options: HubOptions, surroundings: HubSurroundings): Promise<Session> {
  const { revision = "main", variant, subfolder = "", onProgress } = options;
  checkReference(id, { revision, variant, subfolder });
  const { variables, retryDelayMs } = surroundings;
  const offline = options.offline === true || isOffline(variables);
  const token = options.token === undefined ? await findToken(variables) : cleanToken(options.token || undefined, "token");
  const stopper = new AbortController();
  const signals = [stopper.signal, options.signal].filter((signal) => signal !== undefined);
  const client = new HubClient({
    id,
    revision,
    endpoint: hubEndpoint(variables),
    token,
    signal: AbortSignal.any(signals),
    fetch: surroundings.fetch,
    retryDelayMs,
    silenceMs: silenceLimitMs(variables),
  });
  return {
    client,
    cached: new CachedRepository(options.cacheDir ?? cacheFolder(variables), id, !linksDisabled(variables)),
    selection: { id, subfolder, variant, needs: options.needs ?? (() => true) },
    report: (event) => onProgress?.(event),
    surroundings,
    stop: () => stopper.abort(),
    offline,
    checkIndex: options.checkIndex,
  };
}

/** Asks the Hub what the revision is now; a commit whose listing is cached needs no question. Errors as resolveModel. */
export async function look({ client, cached }: Session): Promise<{ commit: string; listing: Listing }> {
  const { revision } = client.connection;
  client.throwIfCancelled();
  const commit = isCommit(revision) ? revision : await client.resolveCommit();
  return { commit, listing: (await cached.readListing(commit)) ?? (await client.list(commit)) };
}

/** Path of the file that makes a folder a pipeline. */
export function pipelineIndexPath(selection: Selection): string {
  return inSubfolder(selection, "model_index.json");
}

/**
 * Selects the files that the call needs from all paths of a commit; model_index.json, if the commit has one, must be in the cache.
 *
 * Errors: those of selectPipelineFiles; CheckpointError when this is not a model in diffusers' layout.
 */
export async function selectFiles(session: Session, commit: string, paths: readonly string[]): Promise<string[]> {
  const { cached, selection } = session;
  const { id, subfolder } = selection;
  const index = pipelineIndexPath(selection);
  if (paths.includes(index)) {
    const text = await readFile(cached.pointerPath(commit, index), "utf8");
    session.checkIndex?.(text, `${id}: ${index}`);
    return selectPipelineFiles(paths, parsePipelineIndex(text, `${id}: ${index}`), selection);
  }
  if (paths.includes(inSubfolder(selection, "config.json"))) {
    return selectComponentFiles(paths, selection);
  }
  const place = subfolder === "" ? id : `folder "${subfolder}" of ${id}`;
  const found = paths.filter((path) => path.startsWith(inSubfolder(selection, ""))).slice(0, 4);
  throw new CheckpointError(
    `${place} has no model_index.json, expected a model in diffusers' layout, got ${found.join(", ") || "no files"}`,
    {
      where: id,
      hint: "single-file checkpoints are not read; look for a repository that diffusers loads with from_pretrained",
    },
  );
}

/** Makes the result of a call. */
export function resolved({ cached, selection, client }: Session, commit: string): ResolvedModel {
  const folder = join(cached.snapshotFolder(commit), ...selection.subfolder.split("/").filter((part) => part !== ""));
  return { folder, commit, revision: client.connection.revision };
}

function inSubfolder({ subfolder }: Selection, name: string): string {
  return subfolder === "" ? name : `${subfolder}/${name}`;
}
