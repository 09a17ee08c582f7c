/**
 * Opens a pipeline's parts from a folder or Hub id; nothing but headers, configs and tokenizers is read, and of the Hub nothing large is
 * fetched before the classes are known to be ones that halftone runs.
 */
import type { Folder } from "../checkpoint/byte-source.ts";
import { subfolder } from "../checkpoint/folder.ts";
import { parseJson, readJson } from "../checkpoint/json.ts";
import { type ComponentClass, type ModelIndex, parseModelIndex, readModelIndex } from "../checkpoint/model-index.ts";
import { listVariants, presentVariant } from "../checkpoint/weight-store.ts";
import { CheckpointError, nearestWord, UnsupportedError, UsageError, withArticle } from "../errors.ts";
import { type LocatedModel, locateModel } from "../hub/locate-node.ts";
import { checkModelClass } from "../models/registry.ts";
import { memorySizeBytes } from "../runtime/memory-size.ts";
import { onnxRuntimeNode } from "../runtime/onnxruntime-node.ts";
import { createScheduler, SCHEDULER_CLASSES } from "../schedulers/registry.ts";
import type { Scheduler } from "../schedulers/scheduler.ts";
import { type ComputeDType, checkDtype } from "../tensor/dtype.ts";
import { loadTokenizer } from "../tokenizers/registry.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { DiffusionModel } from "./diffusion-model.ts";
import type { LoadOptions } from "./options.ts";
import { camelCase, type MemoryOptions, type PipelineParts } from "./parts.ts";
import type { PipelineClass } from "./pipeline-class.ts";
import { findPipelineClass } from "./registry.ts";

/** How a pipeline is opened. */
export interface PipelineOptions extends LoadOptions {
  /** A transformer to use instead of the checkpoint's, or null to assign one later; then the checkpoint's is neither opened nor downloaded. */
  transformer?: DiffusionModel | null | undefined;
  /** The same for the text encoder. */
  textEncoder?: DiffusionModel | null | undefined;
  /** The same for the second and third, in classes that have them; null is to do without, where the class can (Stable Diffusion 3's third). */
  textEncoder2?: DiffusionModel | null | undefined;
  textEncoder3?: DiffusionModel | null | undefined;
  /** The same for the VAE. */
  vae?: DiffusionModel | null | undefined;
  /** Memory that the process may take while it makes pictures: bytes, or "800MB", "1.5GiB". Default: what is free, less a reserve. */
  maxMemory?: number | string | undefined;
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

/** Slots of all classes that an option can fill. */
const SLOTS = {
  transformer: "transformer",
  text_encoder: "textEncoder",
  text_encoder_2: "textEncoder2",
  text_encoder_3: "textEncoder3",
  vae: "vae",
} as const satisfies Record<string, keyof PipelineOptions>;

const KNOWN_OPTIONS: readonly (keyof PipelineOptions)[] = [
  "dtype",
  "revision",
  "variant",
  "subfolder",
  "token",
  "cacheDir",
  "localFilesOnly",
  "threads",
  "maxMemory",
  "onEvent",
  "signal",
  ...Object.values(SLOTS),
];

/** Opens a pipeline; errors as DiffusionPipeline.fromPretrained. */
export async function openPipeline(idOrFolder: string, options: PipelineOptions): Promise<OpenedPipeline> {
  refuseUnknown(options);
  checkDtype(options.dtype);
  checkThreads(options.threads);
  memoryOptions(options);
  const given = givenModels(options);
  let needed: Components = {};
  const found = await locateModel(idOrFolder, options, options.onEvent, {
    checkIndex: (text, where) => {
      needed = neededComponents(parseModelIndex(parseJson(new TextEncoder().encode(text), where), where), given, where);
    },
    needs: (component) => Object.hasOwn(needed, component),
  });
  return openLocated(found, options);
}

/** Opens the pipeline of a folder, which may lie on the Hub: headers, configs and tokenizers are all that is read of it. */
export async function openLocated(found: LocatedModel, options: PipelineOptions): Promise<OpenedPipeline> {
  const dtype = checkDtype(options.dtype);
  const runtime = onnxRuntimeNode({ threads: checkThreads(options.threads) });
  const memory = memoryOptions(options);
  const given = givenModels(options);
  const indexPath = `${found.folder.name}/model_index.json`;
  const index = await readModelIndex(found.folder, { signal: options.signal });
  const components = neededComponents(index, given, indexPath);
  const pipelineClass = findPipelineClass(index.className, indexPath);
  const models = new Map<string, DiffusionModel | null>();
  const own: DiffusionModel[] = [];
  try {
    const slots = Object.keys(pipelineClass.models);
    await checkVariant(
      found.folder,
      slots.filter((part) => Object.hasOwn(components, part)),
      options.variant,
    );
    for (const part of slots) {
      const brought = given.get(part) ?? null;
      checkSlot(pipelineClass, part, brought);
      models.set(part, Object.hasOwn(components, part) ? await openOwn(part) : brought);
    }
    const tokenizers = await openTokenizers(found.folder, pipelineClass, components);
    const scheduler = await openScheduler(found.folder, pipelineClass, components.scheduler);
    const located = { ...found, variant: options.variant };
    return { pipelineClass, parts: { runtime, dtype, models, tokenizers, scheduler, memory }, located, own };
  } catch (error) {
    for (const model of own) await model.dispose();
    throw error;
  }

  async function openOwn(part: string): Promise<DiffusionModel> {
    const opened = await openPart(found.folder, part, components[part], dtype, options);
    own.push(opened);
    reportOpened(opened, options);
    return opened;
  }
}

function memoryOptions({ maxMemory }: PipelineOptions): MemoryOptions {
  return maxMemory === undefined ? {} : { maxBytes: memorySizeBytes(maxMemory, "maxMemory") };
}

/**
 * Refuses a part in a slot that another class belongs in.
 *
 * Errors: UsageError.
 */
export function checkSlot(pipelineClass: PipelineClass, slot: string, model: DiffusionModel | null): void {
  const expected = pipelineClass.models[slot]?.className;
  if (model === null || model.className === expected) return;
  throw new UsageError(
    `the ${slot} of ${withArticle(pipelineClass.className)} is ${withArticle(expected ?? "")}, got ${withArticle(model.className)}`,
  );
}

/**
 * The components that are to be read from the checkpoint, undefined or null where it lacks one that the pipeline needs; all those that a
 * model_index.json names have been found to be of classes that halftone runs.
 *
 * Errors: UsageError for a part that was brought to a class without it; UnsupportedError for classes.
 */
function neededComponents(index: ModelIndex, given: ReadonlyMap<string, DiffusionModel | null>, where: string): Components {
  const pipelineClass = findPipelineClass(index.className, where);
  const { className, models, tokenizers } = pipelineClass;
  for (const [slot, option] of Object.entries(SLOTS)) {
    if (given.has(slot) && !Object.hasOwn(models, slot))
      throw new UsageError(`option ${option} was given, but ${withArticle(className)} has no ${slot}`);
  }
  const isAbsent = (slot: string) =>
    models[slot]?.isOptional === true && (given.has(slot) ? given.get(slot) : index.components[slot]) == null;
  const read = Object.keys(models).filter((slot) => !given.has(slot) && !isAbsent(slot));
  for (const part of read) {
    const entry = index.components[part];
    if (entry != null) checkModelClass(entry.className, part, where);
  }
  const { scheduler } = index.components;
  if (scheduler != null) checkSchedulerClass(pipelineClass, scheduler.className, where);
  const withPart = Object.keys(tokenizers).filter((name) => !isAbsent(tokenizers[name] as string));
  return Object.fromEntries([...read, ...withPart, "scheduler"].map((name) => [name, index.components[name]]));
}

/** A scheduler of the other kind would run and make noise of every picture. */
function checkSchedulerClass({ className, schedulers }: PipelineClass, got: string, where: string): void {
  if (schedulers.includes(got) || !SCHEDULER_CLASSES.includes(got)) return;
  throw new UnsupportedError(`the scheduler is ${withArticle(got)}, which ${withArticle(className)} does not work with`, {
    where,
    hint: `it works with ${schedulers.join(", ")}`,
  });
}

export function refuseUnknown(options: PipelineOptions): void {
  for (const name of Object.keys(options)) {
    if ((KNOWN_OPTIONS as readonly string[]).includes(name)) continue;
    const near = nearestWord(name, KNOWN_OPTIONS);
    throw new UsageError(`there is no option ${JSON.stringify(name)} for opening a pipeline`, {
      hint: near === undefined ? `the options are ${KNOWN_OPTIONS.join(", ")}` : `did you mean ${near}?`,
    });
  }
}

/** Parts that the caller brings, or leaves out, by their slots. */
function givenModels(options: PipelineOptions): Map<string, DiffusionModel | null> {
  return new Map(
    Object.entries(SLOTS).flatMap(([slot, option]) => {
      const model = options[option];
      return model === undefined ? [] : [[slot, model] as const];
    }),
  );
}

/** More threads than any machine has cores only bring it to a halt. */
const MOST_THREADS = 256;

function checkThreads(threads: number | undefined): number | undefined {
  if (threads === undefined || (Number.isInteger(threads) && threads >= 1 && threads <= MOST_THREADS)) return threads;
  throw new UsageError(`threads must be a whole number from 1 to ${MOST_THREADS}, got ${String(threads)}`);
}

type Components = Readonly<Record<string, ComponentClass | null | undefined>>;

async function openPart(folder: Folder, part: string, entry: Components[string], dtype: ComputeDType, options: LoadOptions) {
  if (entry === undefined || entry === null) {
    throw new CheckpointError(`the model has no ${part}`, {
      where: `${folder.name}/model_index.json`,
      hint: `bring one: { ${camelCase(part)}: … }`,
    });
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
  for (const name of Object.keys(pipelineClass.tokenizers)) {
    if (Object.hasOwn(components, name)) found.set(name, await loadTokenizer(folder, name, components[name]?.className));
  }
  return found;
}

async function openScheduler(folder: Folder, pipelineClass: PipelineClass, entry: Components[string]): Promise<Scheduler> {
  const path = "scheduler/scheduler_config.json";
  const config = await readJson(folder, path);
  const ownName = (config as { _class_name?: unknown } | null)?._class_name;
  const className = entry?.className ?? (typeof ownName === "string" ? ownName : "");
  checkSchedulerClass(pipelineClass, className, `${folder.name}/${path}`);
  return createScheduler(className, config, `${folder.name}/${path}`);
}

function reportOpened(model: DiffusionModel, { onEvent }: LoadOptions): void {
  onEvent?.({ type: "load", part: model.part, className: model.className, weightBytes: model.weightBytes });
  const { unusedTensors: unused } = model;
  if (unused.length === 0) return;
  const names = unused.length > 3 ? `${unused.slice(0, 3).join(", ")} and ${unused.length - 3} more` : unused.join(", ");
  onEvent?.({ type: "warning", message: `${model.part} has tensors that its class does not use: ${names}` });
}
