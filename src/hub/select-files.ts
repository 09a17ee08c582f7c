/**
 * Which files of a repository a pipeline needs.
 *
 * The index (model_index.json) names the components, each of which is a folder. A folder with weights gives its config and its safetensors:
 * those of the asked variant ("model.fp16.safetensors") if it has any, else the plain ones. A folder without weights (tokenizer, scheduler)
 * gives everything that is not weights of another framework or a picture. Nothing else of the repository is touched.
 * Source: diffusers pipelines/pipeline_utils.py `download` and pipeline_loading_utils.py `variant_compatible_siblings`@0.42.1; differs: the
 * root's own weights, README and Python files are never taken, quanto_qmap.json (the qtypes of a quantized part) is.
 */

import { parseModelIndex } from "../checkpoint/model-index.ts";
import { CheckpointError, nearestWord, UnsupportedError, UsageError } from "../errors.ts";

/** A component that model_index.json names. */
export interface ComponentEntry {
  readonly name: string;
  readonly className: string;
}

/** What model_index.json says about files. */
export interface PipelineIndex {
  readonly components: readonly ComponentEntry[];
  /** Paths that the repository asks not to fetch. */
  readonly ignored: readonly string[];
}

/** What to select. */
export interface Selection {
  /** Name of the repository, for messages. */
  readonly id: string;
  /** Folder inside the repository, without "/" at the end; "" is the root. */
  readonly subfolder: string;
  readonly variant: string | undefined;
  /** Tells whether a component is wanted. */
  readonly needs: (component: string, className: string) => boolean;
}

const WEIGHTS = /^(?:diffusion_pytorch_model|model)(?:\.(.+?))?(?:-\d{5}-of-\d{5})?\.safetensors$/;
const LEGACY_SHARD = /^(?:diffusion_pytorch_model|model)-\d{5}-of-\d{5}\.(.+)\.safetensors$/;
const INDEX = /^(?:diffusion_pytorch_model|model)\.safetensors\.index(?:\.(.+))?\.json$/;
const LEGACY_INDEX = /^(?:diffusion_pytorch_model|model)\.safetensors\.(.+)\.index\.json$/;
const ANY_WEIGHTS = /\.(?:bin|safetensors|onnx|pb|msgpack|h5|ckpt|pt|pth|gguf)$/;
const PICTURE = /\.(?:png|jpe?g|gif|webp|bmp|mp4)$/i;
const MODEL_EXTRAS = ["config.json", "quanto_qmap.json"];

/**
 * Reads the components from model_index.json; entries that are null (a part that the repository leaves out) are skipped.
 *
 * Errors: CheckpointError when the text is not JSON of a pipeline.
 */
export function parsePipelineIndex(text: string, where: string): PipelineIndex {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError("model_index.json is not JSON", { where, cause });
  }
  const index = parseModelIndex(json, where);
  const components: ComponentEntry[] = [];
  for (const [name, component] of Object.entries(index.components)) {
    if (component !== null) {
      components.push({ name, className: component.className });
    }
  }
  const ignored: unknown = Object.entries(json as object).find(([name]) => name === "_ignore_files")?.[1];
  return { components, ignored: Array.isArray(ignored) ? ignored.filter((path) => typeof path === "string") : [] };
}

/**
 * Returns the sorted paths of the files that the wanted components of a pipeline consist of, with model_index.json itself.
 *
 * Errors: CheckpointError when a component has no files, UnsupportedError when it has weights but no safetensors, UsageError when no wanted
 * component has the variant.
 */
export function selectPipelineFiles(paths: Iterable<string>, index: PipelineIndex, selection: Selection): string[] {
  const all = new Set(paths);
  for (const path of index.ignored) {
    all.delete(path);
  }
  const prefix = selection.subfolder === "" ? "" : `${selection.subfolder}/`;
  const folders = new Map<string, string[]>();
  for (const { name, className } of index.components) {
    if (selection.needs(name, className)) {
      folders.set(`${prefix}${name}`, filesBelow(all, `${prefix}${name}/`));
    }
  }
  return [`${prefix}model_index.json`, ...selectFolders(folders, selection)].sort();
}

/**
 * Returns the sorted paths of the files of one component that lies in the subfolder itself, for a repository without model_index.json.
 *
 * Errors: as selectPipelineFiles.
 */
export function selectComponentFiles(paths: Iterable<string>, selection: Selection): string[] {
  const prefix = selection.subfolder === "" ? "" : `${selection.subfolder}/`;
  const direct = filesBelow(new Set(paths), prefix).filter((name) => !name.includes("/"));
  return selectFolders(new Map([[selection.subfolder, direct]]), selection).sort();
}

function filesBelow(paths: ReadonlySet<string>, prefix: string): string[] {
  return [...paths].filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length));
}

/** Takes the file names of each folder, relative to it, and returns full paths. */
function selectFolders(folders: ReadonlyMap<string, readonly string[]>, selection: Selection): string[] {
  const selected: string[] = [];
  const withoutWeights: [string, readonly string[]][] = [];
  let variantFound = selection.variant === undefined;
  for (const [folder, names] of folders) {
    if (names.length === 0) {
      throw new CheckpointError(`model_index.json names the component "${folder}", but the repository has no such folder`, {
        where: selection.id,
      });
    }
    const hasWeights = names.some((name) => ANY_WEIGHTS.test(name));
    const weights = weightsOf(names, selection.variant);
    variantFound ||= weights.ofVariant;
    if (hasWeights && weights.names.length === 0) {
      withoutWeights.push([folder, names]);
    }
    const others = names.filter((name) => (hasWeights ? MODEL_EXTRAS.includes(name) : !PICTURE.test(name)));
    selected.push(...[...weights.names, ...others].map((name) => join(folder, name)));
  }
  if (!variantFound) {
    throw noSuchVariant(folders, selection);
  }
  for (const [folder, names] of withoutWeights) {
    throw noUsableWeights(folder, names, selection);
  }
  return selected;
}

function weightsOf(names: readonly string[], variant: string | undefined): { names: string[]; ofVariant: boolean } {
  const take = (files: RegExp, indexes: RegExp, wanted: string | undefined): string[] => {
    const match = (pattern: RegExp): string[] => names.filter((name) => pattern.test(name) && pattern.exec(name)?.[1] === wanted);
    const weights = match(files);
    return weights.length === 0 ? [] : [...weights, ...match(indexes)];
  };
  if (variant !== undefined) {
    const current = take(WEIGHTS, INDEX, variant);
    const found = current.length > 0 ? current : take(LEGACY_SHARD, LEGACY_INDEX, variant);
    if (found.length > 0) {
      return { names: found, ofVariant: true };
    }
  }
  return { names: take(WEIGHTS, INDEX, undefined), ofVariant: false };
}

function noUsableWeights(folder: string, names: readonly string[], selection: Selection): Error {
  const label = folder === "" ? "the root" : `component "${folder}"`;
  const variants = variantsIn(names);
  if (variants.length > 0) {
    const wanted = selection.variant === undefined ? "without a variant" : `of the variant "${selection.variant}" or without one`;
    return new UsageError(`${label} has no weights ${wanted}, only ${variants.map((name) => `"${name}"`).join(", ")}`, {
      where: selection.id,
      hint: `ask for variant "${variants[0]}"`,
    });
  }
  const found = names.filter((name) => ANY_WEIGHTS.test(name)).slice(0, 3);
  return new UnsupportedError(
    `${label} has no weights that can be read: expected *.safetensors in diffusers' layout, got ${found.join(", ")}`,
    {
      where: selection.id,
      hint: "pickled .bin files can run code and are never read; look for a revision or a copy with safetensors",
    },
  );
}

function noSuchVariant(folders: ReadonlyMap<string, readonly string[]>, selection: Selection): Error {
  const wanted = selection.variant ?? "";
  const known = new Set<string>();
  const described: string[] = [];
  for (const [folder, names] of folders) {
    const variants = variantsIn(names);
    const kinds = [...(weightsOf(names, undefined).names.length > 0 ? ["no variant"] : []), ...variants.map((name) => `"${name}"`)];
    for (const name of variants) {
      known.add(name);
    }
    if (kinds.length > 0) {
      described.push(`${folder === "" ? "the root" : folder} has ${kinds.join(" and ")}`);
    }
  }
  const near = nearestWord(wanted, [...known]) ?? [...known][0];
  return new UsageError(
    `no component has weights of the variant "${wanted}": ${described.join("; ") || "there are no safetensors at all"}`,
    {
      where: selection.id,
      hint: near === undefined ? "leave the variant out" : `ask for variant "${near}", or leave it out`,
    },
  );
}

function variantsIn(names: readonly string[]): string[] {
  const variants = names.map((name) => LEGACY_SHARD.exec(name)?.[1] ?? WEIGHTS.exec(name)?.[1]);
  return [...new Set(variants.filter((name) => name !== undefined))].sort();
}

function join(folder: string, name: string): string {
  return folder === "" ? name : `${folder}/${name}`;
}
