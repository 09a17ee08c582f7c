/**
 * Weights that are spread over several files: an index says which tensor lies in which shard.
 *
 * The index is untrusted. Like diffusers, it may name plain files beside itself and nothing else; its `total_size` is not looked at, since
 * tools that edit checkpoints leave it wrong.
 *
 * Source: diffusers utils/hub_utils.py@0.42.1 (_get_checkpoint_shard_files).
 */
import { CheckpointError } from "../errors.ts";
import type { ByteSource, Folder } from "./byte-source.ts";
import { readJsonAndClose } from "./json.ts";
import { readSafetensors } from "./safetensors.ts";
import { quote, type StoredTensor } from "./stored-tensor.ts";

/** What an index says: tensors by shard. */
type WeightMap = ReadonlyMap<string, readonly string[]>;

/** Opened weights: one file, or the shards of an index. */
export interface OpenedWeights {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Full names of tensors that lie in a shard but not in the index, which are left out. */
  readonly unlisted: readonly string[];
  readonly sources: readonly ByteSource[];
}

/**
 * Opens every shard that an index names, in the folder in which the index lies, and closes the index.
 *
 * Errors: CheckpointError when the index is not one, a shard is missing or unsound, or lacks a tensor; nothing stays open then.
 */
export async function openShards(folder: Folder, index: ByteSource, signal?: AbortSignal): Promise<OpenedWeights> {
  const where = index.name;
  const weightMap = parseShardIndex(await readJsonAndClose(index, { signal }), where);
  const names = [...weightMap.keys()].sort();
  const opened = await openAll(names.map((name) => () => folder.open(name)));
  const sources = opened.filter((source) => source !== undefined);
  try {
    checkAllThere(names, opened, where);
    const files = await Promise.all(sources.map((source) => readSafetensors(source, signal)));
    const tensors = new Map<string, StoredTensor>();
    const unlisted: string[] = [];
    for (const [i, { tensors: inShard }] of files.entries()) {
      const listed = new Set(weightMap.get(names[i] as string));
      checkListed(listed, inShard, names[i] as string, where);
      for (const [name, tensor] of inShard) {
        if (listed.has(name)) tensors.set(name, tensor);
        else unlisted.push(name);
      }
    }
    return { tensors, unlisted: unlisted.filter((name) => !tensors.has(name)).sort(), sources };
  } catch (error) {
    await closeAll(sources);
    throw error;
  }
}

/** Opens one file; errors as readSafetensors, and nothing stays open then. */
export async function openSingle(source: ByteSource, signal?: AbortSignal): Promise<OpenedWeights> {
  try {
    return { tensors: (await readSafetensors(source, signal)).tensors, unlisted: [], sources: [source] };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Checks the value of an index file and groups its tensors by shard. */
function parseShardIndex(value: unknown, where: string): WeightMap {
  const map = typeof value === "object" && value !== null && "weight_map" in value ? value.weight_map : undefined;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new CheckpointError("the index has no weight_map, expected an object of tensor names and shards", { where });
  }
  const shards = new Map<string, string[]>();
  for (const [tensor, shard] of Object.entries(map)) {
    if (typeof shard !== "string" || !isPlainName(shard)) {
      const got = typeof shard === "string" ? quote(shard) : String(shard);
      throw new CheckpointError(`the index puts tensor ${quote(tensor)} into ${got}, expected the plain name of a file beside it`, {
        where,
      });
    }
    const tensors = shards.get(shard);
    if (tensors === undefined) shards.set(shard, [tensor]);
    else tensors.push(tensor);
  }
  if (shards.size === 0) throw new CheckpointError("the index lists no tensor", { where });
  return shards;
}

function isPlainName(name: string): boolean {
  return name.endsWith(".safetensors") && !/[/\\\0:]/.test(name) && !name.startsWith("..");
}

function checkAllThere(names: readonly string[], opened: readonly (ByteSource | undefined)[], where: string): void {
  const missing = names.filter((_, i) => opened[i] === undefined);
  if (missing.length === 0) return;
  const others = missing.length === 1 ? "" : ` and ${missing.length - 1} more`;
  throw new CheckpointError(`shard ${quote(missing[0] as string)}${others} of ${names.length} is missing`, {
    where,
    hint: "the model was not downloaded whole: get it again",
  });
}

function checkListed(listed: ReadonlySet<string>, inShard: ReadonlyMap<string, StoredTensor>, shard: string, where: string): void {
  for (const name of listed) {
    if (!inShard.has(name))
      throw new CheckpointError(`tensor ${quote(name)} is not in shard ${quote(shard)}, where the index puts it`, { where });
  }
}

/** Opens all or none. */
async function openAll(opens: readonly (() => Promise<ByteSource | undefined>)[]): Promise<(ByteSource | undefined)[]> {
  const results = await Promise.allSettled(opens.map((open) => open()));
  const failed = results.find((result) => result.status === "rejected");
  const opened = results.map((result) => (result.status === "fulfilled" ? result.value : undefined));
  if (failed === undefined) return opened;
  await closeAll(opened.filter((source) => source !== undefined));
  throw failed.reason;
}

/** Closes sources, all of them even if one fails. */
export async function closeAll(sources: readonly ByteSource[]): Promise<void> {
  await Promise.allSettled(sources.map((source) => source.close()));
}
