/**
 * What a model consists of, from its configs and the headers of its weights: no weight is read, and nothing of a Hub model is kept.
 */
import type { Folder } from "../checkpoint/byte-source.ts";
import { subfolder } from "../checkpoint/folder.ts";
import { readJson, readJsonIfPresent } from "../checkpoint/json.ts";
import { type ComponentClass, configClass, readModelIndex } from "../checkpoint/model-index.ts";
import { openWeights, presentVariant, type StoredTensor } from "../checkpoint/weight-store.ts";
import { CheckpointError } from "../errors.ts";
import { lookIntoModel } from "../hub/locate-node.ts";
import { currentClassName, MODEL_CLASSES } from "../models/registry.ts";
import type { DType } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { LoadOptions } from "./options.ts";

/** One component of a model. */
export interface PartReport {
  /** Name in model_index.json ("text_encoder"). */
  readonly name: string;
  readonly library: string;
  readonly className: string;
  /** Whether halftone can run this class of weights; undefined for a part without weights. */
  readonly isSupported: boolean | undefined;
  /** Numbers in its weights; 0 for a tokenizer or scheduler. */
  readonly parameters: number;
  /** Bytes of its weights as stored. */
  readonly sizeBytes: number;
  /** Parameters by the dtype they are stored in, most first. */
  readonly storedDTypes: Readonly<Partial<Record<DType, number>>>;
}

/** A model's parts and their sums. */
export interface ModelReport {
  /** The Hub id, or the name of the folder. */
  readonly model: string;
  /** Commit of a Hub id. */
  readonly revision: string | undefined;
  /** Class of the pipeline, or of the part when the folder holds one part alone. */
  readonly className: string;
  readonly parts: readonly PartReport[];
  readonly parameters: number;
  readonly sizeBytes: number;
}

/**
 * Reports on a pipeline's folder or Hub id, or on the folder of one part.
 *
 * Errors: CheckpointError and DownloadError as opening the model would give.
 */
export async function inspectModel(idOrFolder: string, options: LoadOptions = {}): Promise<ModelReport> {
  const { folder, label, revision } = await lookIntoModel(idOrFolder, options);
  const { className, components } = await componentsOf(folder, options);
  const parts: PartReport[] = [];
  for (const [name, component] of Object.entries(components)) {
    if (component !== null) parts.push(await inspectPart(folder, name, component, options));
  }
  const sum = (key: "parameters" | "sizeBytes") => parts.reduce((total, part) => total + part[key], 0);
  return { model: label, revision, className, parts, parameters: sum("parameters"), sizeBytes: sum("sizeBytes") };
}

/** The components of a pipeline, or the one part that a folder holds, under the name "". */
async function componentsOf(folder: Folder, { signal }: LoadOptions) {
  const index = await folder.open("model_index.json");
  const config = index === undefined ? await folder.open("config.json") : undefined;
  await Promise.all([index?.close(), config?.close()]);
  if (config === undefined) return readModelIndex(folder, { signal });
  const part = partClass(await readJson(folder, "config.json", { signal }), `${folder.name}/config.json`);
  return { className: part.className, components: { "": part } };
}

function partClass(config: unknown, where: string): ComponentClass {
  const found = configClass(config);
  if (found !== undefined) return found;
  throw new CheckpointError("config.json names no class, expected _class_name or architectures", { where });
}

async function inspectPart(
  folder: Folder,
  name: string,
  { library, className }: ComponentClass,
  options: LoadOptions,
): Promise<PartReport> {
  const about = { name, library, className };
  const inside = subfolder(folder, name);
  const files = await inside.list();
  const config = Object.hasOwn(MODEL_CLASSES, className)
    ? undefined
    : await readJsonIfPresent(inside, "config.json", { signal: options.signal });
  const isSupported = Object.hasOwn(MODEL_CLASSES, currentClassName(className, Object(config ?? {})));
  if (!isSupported && !files.some((path) => /\.(safetensors|bin)$/.test(path))) {
    return { ...about, isSupported: undefined, parameters: 0, sizeBytes: 0, storedDTypes: {} };
  }
  const store = await openWeights(folder, name, { variant: presentVariant(files, options.variant), signal: options.signal });
  try {
    const tensors = [...store.tensors.values()];
    const storedDTypes = countByDType(tensors);
    const parameters = Object.values(storedDTypes).reduce((total, count) => total + count, 0);
    return { ...about, isSupported, parameters, sizeBytes: store.sizeBytes, storedDTypes };
  } finally {
    await store.close();
  }
}

function countByDType(tensors: readonly StoredTensor[]): Partial<Record<DType, number>> {
  const counts = new Map<DType, number>();
  for (const { dtype, shape } of tensors) counts.set(dtype, (counts.get(dtype) ?? 0) + elementCount(shape));
  return Object.fromEntries([...counts].sort(([, a], [, b]) => b - a));
}
