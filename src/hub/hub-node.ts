/**
 * From a model id to a folder: finds the commit, lists its files, selects those that a pipeline needs, fetches what the cache lacks.
 *
 * The cache is the one of Python's huggingface_hub. The revision's ref is written last, so that the cache always knows a commit that is
 * complete; without a network that commit is used.
 */

import { DownloadError, HalftoneError } from "../errors.ts";
import { downloadFailure, failureOf } from "./failure.ts";
import { fetchFiles } from "./fetch-files-node.ts";
import type { Listing } from "./listing.ts";
import { resolveFromCache } from "./offline-node.ts";
import {
  type HubOptions,
  hubSurroundings,
  look,
  openSession,
  pipelineIndexPath,
  type ResolvedModel,
  resolved,
  type Session,
  selectFiles,
} from "./session-node.ts";

export { isHubId } from "./hub-id.ts";
export { openHubFolder } from "./open-hub-folder-node.ts";
export type { HubEvent, HubOptions, ResolvedModel } from "./session-node.ts";

/**
 * Returns the folder in the cache that holds a model's files, after fetching those that are missing.
 *
 * Errors: UsageError for an id, revision or variant that can't be; CheckpointError or UnsupportedError when the repository is no model that
 * can be read; DownloadError; FileError when the disk is full or refuses; CancelledError. What was received before an error is used by the next
 * call.
 */
export async function resolveModel(id: string, options: HubOptions = {}, surroundings = hubSurroundings): Promise<ResolvedModel> {
  const session = await openSession(id, options, surroundings);
  if (session.offline) {
    return resolveFromCache(session);
  }
  let commit: string;
  let listing: Listing;
  try {
    ({ commit, listing } = await look(session));
  } catch (error) {
    return standIn(session, error);
  }
  const { cached, selection } = session;
  const index = listing.get(pipelineIndexPath(selection));
  if (index !== undefined) {
    await fetchFiles(session, commit, [index], listing);
  }
  const selected = await selectFiles(session, commit, [...listing.keys()]);
  const files = selected.map((path) => listing.get(path)).filter((file) => file !== undefined);
  await fetchFiles(session, commit, files, listing);
  await cached.writeCommit(session.client.connection.revision, commit);
  return resolved(session, commit);
}

/** The cached copy stands in for a Hub that can't be reached or refuses; a revision that is gone is an error all the same. */
async function standIn(session: Session, error: unknown): Promise<ResolvedModel> {
  const failure = failureOf(error);
  if (!(error instanceof DownloadError) || failure === undefined || failure.kind === "revision") {
    throw error;
  }
  let model: ResolvedModel;
  try {
    model = await resolveFromCache(session);
  } catch (inCache) {
    const lack = inCache instanceof HalftoneError ? inCache.message : String(inCache);
    throw downloadFailure(failure, error.message, { where: error.where ?? "", hint: error.hint ?? lack, cause: error.cause ?? inCache });
  }
  session.report({
    type: "warning",
    message: `${error.message}; the cached copy of ${session.selection.id} is used (commit ${model.commit})`,
  });
  return model;
}
