/**
 * The weights of one component as one table of names, however they are stored: a file, shards with an index, a variant of either.
 *
 * File names are those that diffusers and transformers write and read: `model.safetensors`, `model.fp16.safetensors`,
 * `model.safetensors.index.json`, `model.safetensors.index.fp16.json`, and diffusers' old `model.safetensors.fp16.index.json`.
 *
 * Source: diffusers models/modeling_utils.py@0.42.1, transformers modeling_utils.py@5.23.0.
 */
import { CheckpointError, type HalftoneError, UnsupportedError, UsageError } from "../errors.ts";
import type { Folder } from "./byte-source.ts";
import { subfolder } from "./folder.ts";
import { closeAll, type OpenedWeights, openShards, openSingle } from "./shards.ts";
import { quote, type StoredTensor } from "./stored-tensor.ts";
import type { WeightTable } from "./weights.ts";

export type { StoredTensor } from "./stored-tensor.ts";

/** An open component; its table serves any number of readers until it is closed. */
export interface WeightStore extends WeightTable {
  /** Tensors that lie in a shard but not in the index, which are left out. */
  readonly unlisted: readonly string[];
  /** Bytes of all tensors. */
  readonly sizeBytes: number;
  close(): Promise<void>;
}

/** Which weights to open. */
export interface OpenWeightsOptions {
  /** Names without ending, in order of preference; those of diffusers and transformers unless told. */
  readonly baseNames?: readonly string[];
  /** "fp16" takes model.fp16.safetensors. */
  readonly variant?: string | undefined;
  /** The component's name in messages, where it is not its folder's. */
  readonly label?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** diffusers' name, then transformers'. */
const BASE_NAMES = ["diffusion_pytorch_model", "model"];
/** What else weights come in; the first is what Python wrote before safetensors. */
const OTHER_FORMATS = /\.(bin|ckpt|pt|pth|msgpack|h5|onnx|gguf|flashpack)$/;

/**
 * Opens the weights of a component; `component` is its folder within the model's, and its name in messages.
 *
 * Errors: CheckpointError when there are none, not in this variant, or they are not sound; UnsupportedError when there are only pickles
 * or the like; UsageError for a variant that is not a word.
 */
export async function openWeights(folder: Folder, component: string, options: OpenWeightsOptions = {}): Promise<WeightStore> {
  const { baseNames = BASE_NAMES, variant, label = component, signal } = options;
  if (variant !== undefined && !/^\w[\w.-]*$/.test(variant)) {
    throw new UsageError(`variant ${quote(variant)} is not a word, expected one such as "fp16"`);
  }
  const inside = subfolder(folder, component);
  for (const path of candidates(baseNames, variant)) {
    const source = await inside.open(path);
    if (source === undefined) continue;
    const opened = path.endsWith(".json") ? await openShards(inside, source, signal) : await openSingle(source, signal);
    return storeOf(opened, label, source.name);
  }
  throw notFound(await inside.list(), label, inside.name, baseNames, variant);
}

function storeOf({ tensors, unlisted, sources }: OpenedWeights, component: string, name: string): WeightStore {
  return {
    component,
    name,
    tensors,
    unlisted,
    sizeBytes: [...tensors.values()].reduce((sum: number, tensor: StoredTensor) => sum + tensor.sizeBytes, 0),
    close: () => closeAll(sources),
  };
}

/** Where both are there, diffusers takes the index and transformers the single file. */
function candidates(baseNames: readonly string[], variant: string | undefined): string[] {
  return baseNames.flatMap((base) => {
    const single = variant === undefined ? `${base}.safetensors` : `${base}.${variant}.safetensors`;
    const index = `${base}.safetensors.index${variant === undefined ? "" : `.${variant}`}.json`;
    const legacy = variant === undefined ? [] : [`${base}.safetensors.${variant}.index.json`];
    return base === "model" ? [single, index, ...legacy] : [index, ...legacy, single];
  });
}

/** Returns the variants in which a component's weights are there (undefined is the plain one), of the names of the files in its folder. */
export function listVariants(names: readonly string[], baseNames: readonly string[] = BASE_NAMES): (string | undefined)[] {
  const found = new Set<string | undefined>();
  for (const name of names) {
    for (const base of baseNames.filter((candidate) => name.startsWith(`${candidate}.`))) {
      const rest = name.slice(base.length);
      const index = /^\.safetensors\.index(?:\.([^/]+))?\.json$/.exec(rest) ?? /^\.safetensors\.([^/]+)\.index\.json$/.exec(rest);
      // A shard carries its number after its variant: model.fp16-00001-of-00002.safetensors.
      const single = /^(?:\.([^/]+?))?\.safetensors$/.exec(rest);
      if (index) found.add(index[1]);
      else if (single && !/-\d{5}-of-\d{5}$/.test(single[1] ?? "")) found.add(single[1]);
    }
  }
  const named = [...found].filter((variant) => variant !== undefined).sort();
  return found.has(undefined) ? [undefined, ...named] : named;
}

/** The wanted variant, or none for a component that has plain weights alone: that is what diffusers opens then. */
export function presentVariant(names: readonly string[], wanted: string | undefined): string | undefined {
  const there = listVariants(names);
  return there.includes(wanted) || !there.includes(undefined) ? wanted : undefined;
}

function notFound(
  names: readonly string[],
  component: string,
  where: string,
  baseNames: readonly string[],
  variant: string | undefined,
): HalftoneError {
  const expected = baseNames.map((base) => `"${base}${variant === undefined ? "" : `.${variant}`}.safetensors"`).join(" or ");
  if (names.length === 0) return new CheckpointError(`${component} has no files, expected ${expected}`, { where });
  const variants = listVariants(names, baseNames);
  if (variants.length > 0) {
    const there = variants.map((name) => (name === undefined ? "the plain weights" : `"${name}"`)).join(", ");
    const wanted = variant === undefined ? "plain weights" : `weights of variant "${variant}"`;
    return new CheckpointError(`${component} has no ${wanted}, only ${there}`, { where, hint: variantHint(variants) });
  }
  const other = names.find((name) => !name.includes("/") && OTHER_FORMATS.test(name));
  if (other === undefined) return new CheckpointError(`${component} has no weights, expected ${expected}`, { where });
  return new UnsupportedError(`${component} has its weights in "${other}" only, but halftone reads safetensors only`, {
    where,
    hint: "convert them in Python: load the model with diffusers or transformers and call save_pretrained",
  });
}

function variantHint(variants: readonly (string | undefined)[]): string {
  const named = variants.find((name) => name !== undefined);
  return variants.includes(undefined) || named === undefined ? "leave the variant out" : `pass the variant "${named}"`;
}
