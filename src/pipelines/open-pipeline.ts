/**
 * Opens a pipeline's parts from a folder or Hub id; nothing but headers, configs and tokenizers is read, and of the Hub nothing large is
 * fetched before the classes are known to be ones that halftone runs.
 */
import type { Folder } from "../checkpoint/byte-source.ts";
import { subfolder } from "../checkpoint/folder.ts";
import { parseJson, readJson } from "../checkpoint/json.ts";
import { type ModelIndex, parseModelIndex, readModelIndex } from "../checkpoint/model-index.ts";
import { listVariants, presentVariant } from "../checkpoint/weight-store.ts";
import { CheckpointError, nearestWord, UsageError } from "../errors.ts";
import { type LocatedModel, locateModel } from "../hub/locate-node.ts";
import { checkModelClass } from "../models/registry.ts";
import { onnxRuntimeNode } from "../runtime/onnxruntime-node.ts";
import { createScheduler } from "../schedulers/registry.ts";
import type { Scheduler } from "../schedulers/scheduler.ts";
import { type ComputeDType, checkDtype } from "../tensor/dtype.ts";
import { loadTokenizer } from "../tokenizers/registry.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { DiffusionModel } from "./diffusion-model.ts";
import type { LoadOptions } from "./options.ts";
import type { PipelineParts } from "./parts.ts";
import type { PipelineClass } from "./pipeline-class.ts";
import { findPipelineClass } from "./registry.ts";

/** How a pipeline is opened. */
export interface PipelineOptions extends LoadOptions {
  /** A transformer to use instead of the checkpoint's, or null to assign one later; then the checkpoint's is neither opened nor downloaded. */
  transformer?: DiffusionModel | null | undefined;
  /** The same for the text encoder. */
  textEncoder?: DiffusionModel | null | undefined;
  /** The same for the VAE. */
  vae?: DiffusionModel | null | undefined;
}

/** Where the model is and how it was asked for. */
export interface OpenedModel extends LocatedModel {
  readonly variant: string | undefined;
}

/** A pipeline's parts, and where they are from. */
export interface OpenedPipeline {
  readonly pipelineClass: PipelineClass;
  readonly parts: PipelineParts;
  readonly located: OpenedModel;
  /** Parts that were opened here, and that someone has to close. */
  readonly own: readonly DiffusionModel[];
}

const KNOWN_OPTIONS: readonly (keyof PipelineOptions)[] = [
  "dtype",
  "revision",
  "variant",
  "subfolder",
  "token",
  "cacheDir",
  "localFilesOnly",
  "threads",
  "onEvent",
  "signal",
  "transformer",
  "textEncoder",
  "vae",
];

/** Opens a pipeline; errors as DiffusionPipeline.fromPretrained. */
export async function openPipeline(idOrFolder: string, options: PipelineOptions): Promise<OpenedPipeline> {
  refuseUnknown(options);
  const dtype = checkDtype(options.dtype);
  const runtime = onnxRuntimeNode({ threads: checkThreads(options.threads) });
  const given = givenModels(options);
  let needed: ReadonlySet<string> = new Set();
  const found = await locateModel(idOrFolder, options, options.onEvent, {
    checkIndex: (text, where) => {
      needed = neededComponents(parseModelIndex(parseJson(new TextEncoder().encode(text), where), where), given, where);
    },
    needs: (component) => needed.has(component),
  });
  const indexPath = `${found.folder.name}/model_index.json`;
  const index = await readModelIndex(found.folder, { signal: options.signal });
  neededComponents(index, given, indexPath);
  const pipelineClass = findPipelineClass(index.className, indexPath);
  const models = new Map<string, DiffusionModel | null>();
  const own: DiffusionModel[] = [];
  try {
    await checkVariant(
      found.folder,
      pipelineClass.models.filter((part) => !given.has(part)),
      options.variant,
    );
    for (const part of pipelineClass.models) {
      const brought = given.get(part);
      checkSlot(pipelineClass, part, brought ?? null);
      models.set(part, brought === undefined ? await openOwn(part) : brought);
    }
    const tokenizers = await openTokenizers(found.folder, pipelineClass, index.components);
    const scheduler = await openScheduler(found.folder, index.components.scheduler);
    const located = { ...found, variant: options.variant };
    return { pipelineClass, parts: { runtime, dtype, models, tokenizers, scheduler }, located, own };
  } catch (error) {
    for (const model of own) await model.dispose();
    throw error;
  }

  async function openOwn(part: string): Promise<DiffusionModel> {
    const opened = await openPart(found.folder, part, index.components[part], dtype, options);
    own.push(opened);
    reportOpened(opened, options);
    return opened;
  }
}

/**
 * Refuses a part in a slot that another class belongs in.
 *
 * Errors: UsageError.
 */
export function checkSlot(pipelineClass: PipelineClass, slot: string, model: DiffusionModel | null): void {
  const expected = pipelineClass.modelClasses[slot];
  if (model === null || model.className === expected) return;
  throw new UsageError(`the ${slot} of a ${pipelineClass.className} is a ${expected}, got a ${model.className}`);
}

/** The components that have to be there, after their classes have been found to be ones that halftone runs. */
function neededComponents(index: ModelIndex, given: ReadonlyMap<string, unknown>, where: string): Set<string> {
  const pipelineClass = findPipelineClass(index.className, where);
  const models = pipelineClass.models.filter((part) => !given.has(part));
  for (const part of models) {
    const entry = index.components[part];
    if (entry != null) checkModelClass(entry.className, part, where);
  }
  return new Set([...models, ...pipelineClass.tokenizers, "scheduler"]);
}

function refuseUnknown(options: PipelineOptions): void {
  for (const name of Object.keys(options)) {
    if ((KNOWN_OPTIONS as readonly string[]).includes(name)) continue;
    const near = nearestWord(name, KNOWN_OPTIONS);
    throw new UsageError(`there is no option ${JSON.stringify(name)} for opening a pipeline`, {
      hint: near === undefined ? `the options are ${KNOWN_OPTIONS.join(", ")}` : `did you mean ${near}?`,
    });
  }
}

function givenModels(options: PipelineOptions): Map<string, DiffusionModel | null> {
  const all = { text_encoder: options.textEncoder, transformer: options.transformer, vae: options.vae };
  return new Map(Object.entries(all).flatMap(([part, model]) => (model === undefined ? [] : [[part, model] as const])));
}

/** More threads than any machine has cores only bring it to a halt. */
const MOST_THREADS = 256;

function checkThreads(threads: number | undefined): number | undefined {
  if (threads === undefined || (Number.isInteger(threads) && threads >= 1 && threads <= MOST_THREADS)) return threads;
  throw new UsageError(`threads must be a whole number from 1 to ${MOST_THREADS}, got ${String(threads)}`);
}

type Components = ModelIndex["components"];

async function openPart(folder: Folder, part: string, entry: Components[string] | undefined, dtype: ComputeDType, options: LoadOptions) {
  if (entry === undefined || entry === null) {
    throw new CheckpointError(`the model has no ${part}`, { where: `${folder.name}/model_index.json`, hint: `bring one: { ${part}: … }` });
  }
  const inside = subfolder(folder, part);
  const variant = presentVariant(await inside.list(), options.variant);
  return DiffusionModel.open(inside, { part, className: entry.className, dtype, variant, signal: options.signal });
}

/** A part without the wanted variant gives its plain weights, but a variant that no part has is a mistake. */
async function checkVariant(folder: Folder, parts: readonly string[], variant: string | undefined): Promise<void> {
  if (variant === undefined || parts.length === 0) return;
  const there = new Set<string | undefined>();
  for (const part of parts) for (const found of listVariants(await subfolder(folder, part).list())) there.add(found);
  if (there.has(variant)) return;
  const names = [...there].filter((name) => name !== undefined);
  throw new CheckpointError(`no part of the model has weights of variant ${JSON.stringify(variant)}`, {
    where: folder.name,
    hint: names.length === 0 ? "leave the variant out" : `the variants there are ${names.join(", ")}`,
  });
}

async function openTokenizers(folder: Folder, pipelineClass: PipelineClass, components: Components): Promise<Map<string, Tokenizer>> {
  const found = new Map<string, Tokenizer>();
  for (const name of pipelineClass.tokenizers) found.set(name, await loadTokenizer(folder, name, components[name]?.className));
  return found;
}

async function openScheduler(folder: Folder, entry: Components[string] | undefined): Promise<Scheduler> {
  const path = "scheduler/scheduler_config.json";
  const config = await readJson(folder, path);
  const ownName = (config as { _class_name?: unknown } | null)?._class_name;
  const className = entry?.className ?? (typeof ownName === "string" ? ownName : "");
  return createScheduler(className, config, `${folder.name}/${path}`);
}

function reportOpened(model: DiffusionModel, { onEvent }: LoadOptions): void {
  onEvent?.({ type: "load", part: model.part, className: model.className, weightBytes: model.weightBytes });
  const { unusedTensors: unused } = model;
  if (unused.length === 0) return;
  const names = unused.length > 3 ? `${unused.slice(0, 3).join(", ")} and ${unused.length - 3} more` : unused.join(", ");
  onEvent?.({ type: "warning", message: `${model.part} has tensors that its class does not use: ${names}` });
}
