/**
 * model_index.json, the file that makes a folder a pipeline: its class, and for each component the library and class that made it.
 *
 * Source: diffusers pipelines/pipeline_loading_utils.py@0.42.1. A component's name is also its folder, so it may not lead elsewhere.
 */
import { CheckpointError } from "../errors.ts";
import type { Folder } from "./byte-source.ts";
import { type ReadJsonOptions, readJson } from "./json.ts";
import { quote } from "./stored-tensor.ts";

/** The library and class of a component: "transformers", "T5EncoderModel". */
export interface ComponentClass {
  readonly library: string;
  readonly className: string;
}

/** What a pipeline is put together from. */
export interface ModelIndex {
  /** "PixArtSigmaPipeline". */
  readonly className: string;
  /** The version of diffusers that wrote the file, if it says. */
  readonly diffusersVersion: string | undefined;
  /** By name; null where the pipeline was saved without the component. */
  readonly components: Readonly<Record<string, ComponentClass | null>>;
  /** The pipeline's own options, such as force_zeros_for_empty_prompt. */
  readonly options: Readonly<Record<string, string | number | boolean | null>>;
}

/**
 * Reads model_index.json of a pipeline's folder.
 *
 * Errors: CheckpointError when it is missing, not JSON or not a pipeline's index.
 */
export async function readModelIndex(folder: Folder, options?: ReadJsonOptions): Promise<ModelIndex> {
  return parseModelIndex(await readJson(folder, "model_index.json", options), `${folder.name}/model_index.json`);
}

/** Checks the value of a model_index.json; errors as readModelIndex. */
export function parseModelIndex(value: unknown, where: string): ModelIndex {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CheckpointError("model_index.json holds no object, expected a pipeline's class and components", { where });
  }
  const index = new Map(Object.entries(value));
  const className = index.get("_class_name");
  if (typeof className !== "string" || className === "") {
    const got = className === undefined ? "no _class_name" : "a _class_name that is not a string";
    throw new CheckpointError(`model_index.json has ${got}, expected a pipeline's class such as "PixArtSigmaPipeline"`, { where });
  }
  const version = index.get("_diffusers_version");
  const components: [string, ComponentClass | null][] = [];
  const options: [string, string | number | boolean | null][] = [];
  for (const [name, entry] of index) {
    if (name.startsWith("_")) continue;
    if (Array.isArray(entry)) components.push([checkName(name, where), parseComponent(name, entry, where)]);
    else if (isScalar(entry)) options.push([name, entry]);
    else throw new CheckpointError(`model_index.json has ${quote(name)} = an object, expected [library, class] or an option`, { where });
  }
  return {
    className,
    diffusersVersion: typeof version === "string" ? version : undefined,
    components: Object.fromEntries(components),
    options: Object.fromEntries(options),
  };
}

function parseComponent(name: string, entry: readonly unknown[], where: string): ComponentClass | null {
  const [library, className] = entry;
  if (entry.length === 2 && library === null && className === null) return null;
  if (entry.length === 2 && typeof library === "string" && typeof className === "string") return { library, className };
  throw new CheckpointError(`model_index.json has component ${quote(name)} as a list of ${entry.length}, expected [library, class]`, {
    where,
  });
}

function checkName(name: string, where: string): string {
  if (!/^[A-Za-z0-9][\w.-]*$/.test(name) || name.includes("..")) {
    throw new CheckpointError(`model_index.json has component ${quote(name)}, expected a plain folder name`, { where });
  }
  return name;
}

function isScalar(value: unknown): value is string | number | boolean | null {
  return value === null || ["string", "number", "boolean"].includes(typeof value);
}

/** The class that a part's own config.json names, or undefined: diffusers writes _class_name, transformers a list of architectures. */
export function configClass(config: unknown): ComponentClass | undefined {
  const fields = new Map(Object.entries(config ?? {}));
  const ofDiffusers = fields.get("_class_name");
  if (typeof ofDiffusers === "string") return { library: "diffusers", className: ofDiffusers };
  const architectures: unknown = fields.get("architectures");
  const ofTransformers: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  return typeof ofTransformers === "string" ? { library: "transformers", className: ofTransformers } : undefined;
}
