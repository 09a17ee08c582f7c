/**
 * A text-to-image pipeline: opened from a checkpoint folder or Hub id, then asked for pictures.
 *
 * Opening reads configs, tokenizers and the headers of the weights. Weights are mapped when their phase begins and released when it ends.
 */

import type { Folder } from "../checkpoint/byte-source.ts";
import { subfolder } from "../checkpoint/folder.ts";
import { readJson } from "../checkpoint/json.ts";
import { readModelIndex } from "../checkpoint/model-index.ts";
import { listVariants, presentVariant } from "../checkpoint/weight-store.ts";
import { CheckpointError, UsageError } from "../errors.ts";
import { type LocatedModel, locateModel } from "../hub/locate-node.ts";
import type { GeneratedImage } from "../image/image.ts";
import type { QuantizationRequest } from "../image/recipe.ts";
import { onnxRuntimeNode } from "../runtime/onnxruntime-node.ts";
import { createScheduler } from "../schedulers/registry.ts";
import type { Scheduler } from "../schedulers/scheduler.ts";
import { type ComputeDType, checkDtype } from "../tensor/dtype.ts";
import { loadTokenizer } from "../tokenizers/registry.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import { version } from "../version.ts";
import { DiffusionModel } from "./diffusion-model.ts";
import type { PipelineEvent, RunReport } from "./events.ts";
import { fingerprint } from "./fingerprint.ts";
import type { GenerateOptions, LoadOptions } from "./options.ts";
import type { PipelineParts } from "./parts.ts";
import type { PipelineClass } from "./pipeline-class.ts";
import { quantizeParts } from "./quantization.ts";
import { Queue } from "./queue.ts";
import { findPipelineClass } from "./registry.ts";
import { checkRequest } from "./request.ts";
import { type RecipeBase, run } from "./run.ts";

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
interface OpenedModel extends LocatedModel {
  readonly variant: string | undefined;
}

/** What generate() returns. */
export interface GenerateResult {
  readonly images: readonly GeneratedImage[];
  readonly report: RunReport;
}

/** A pipeline; one request at a time, later ones wait. */
export class DiffusionPipeline {
  readonly #class: PipelineClass;
  readonly #parts: PipelineParts;
  readonly #located: OpenedModel;
  readonly #queue = new Queue();
  /** Parts that this pipeline opened, and therefore closes. */
  readonly #own: readonly DiffusionModel[];
  #disposed = false;
  #quantization: QuantizationRequest | undefined;

  private constructor(pipelineClass: PipelineClass, parts: PipelineParts, located: OpenedModel, own: readonly DiffusionModel[]) {
    this.#own = own;
    this.#class = pipelineClass;
    this.#parts = parts;
    this.#located = located;
  }

  /**
   * Opens a pipeline.
   *
   * Errors: CheckpointError for files that are missing, damaged or do not fit; UnsupportedError for a class or option that halftone does not
   * run; DownloadError; UsageError for options.
   */
  static async fromPretrained(idOrFolder: string, options: PipelineOptions = {}): Promise<DiffusionPipeline> {
    const dtype = checkDtype(options.dtype);
    const given = givenModels(options);
    const found = await locateModel(idOrFolder, options, options.onEvent, (component) => !given.has(component));
    const located = { ...found, variant: options.variant };
    const index = await readModelIndex(located.folder, { signal: options.signal });
    const pipelineClass = findPipelineClass(index.className, `${located.folder.name}/model_index.json`);
    const models = new Map<string, DiffusionModel | null>(given);
    const own: DiffusionModel[] = [];
    try {
      const wanted = pipelineClass.models.filter((part) => !given.has(part));
      await checkVariant(located.folder, wanted, options.variant);
      for (const part of wanted) {
        const opened = await openPart(located.folder, part, index.components[part], dtype, options);
        own.push(opened);
        models.set(part, opened);
        reportOpened(opened, options);
      }
      const tokenizers = await openTokenizers(located.folder, pipelineClass, index.components);
      const scheduler = await openScheduler(located.folder, index.components.scheduler);
      const runtime = onnxRuntimeNode({ threads: checkThreads(options.threads) });
      return new DiffusionPipeline(pipelineClass, { runtime, dtype, models, tokenizers, scheduler }, located, own);
    } catch (error) {
      for (const model of own) await model.dispose();
      throw error;
    }
  }

  /** diffusers' name of the class. */
  get className(): string {
    return this.#class.className;
  }

  /** The denoising transformer, or null when the pipeline was opened without one. */
  get transformer(): DiffusionModel | null {
    return this.#parts.models.get("transformer") ?? null;
  }

  set transformer(model: DiffusionModel | null) {
    this.#parts.models.set("transformer", model);
  }

  /** The (first) text encoder. */
  get textEncoder(): DiffusionModel | null {
    return this.#parts.models.get("text_encoder") ?? null;
  }

  set textEncoder(model: DiffusionModel | null) {
    this.#parts.models.set("text_encoder", model);
  }

  /** The autoencoder whose decoder makes pictures of latents. */
  get vae(): DiffusionModel | null {
    return this.#parts.models.get("vae") ?? null;
  }

  set vae(model: DiffusionModel | null) {
    this.#parts.models.set("vae", model);
  }

  /** The scheduler's class and config. */
  get scheduler(): Scheduler {
    return this.#parts.scheduler;
  }

  /**
   * Marks layers of several parts at once, as `--qtype` does: "qint8" means the transformer and every text encoder, never the VAE;
   * "transformer=qint8,text_encoder=qfloat8" names parts. The first picture freezes them on the way.
   *
   * Errors: UsageError for a spec or pattern that fits nothing, and for parts that are quantized already.
   */
  quantize(spec: string, patterns: Omit<QuantizationRequest, "spec"> = {}): void {
    this.#quantization = { spec, ...patterns };
    quantizeParts(this.#parts.models.values(), this.#quantization);
  }

  /**
   * Makes pictures of a prompt.
   *
   * Errors: UsageError for an option that does not fit; EngineError; CancelledError when options.signal is raised.
   */
  async generate(prompt: string, options: GenerateOptions = {}): Promise<GenerateResult> {
    const images: GeneratedImage[] = [];
    for await (const event of this.stream(prompt, options)) {
      if (event.type === "image") images.push(event.image);
      if (event.type === "summary") return { images, report: event.report };
    }
    throw new Error("a run ended without its summary");
  }

  /** Makes pictures of a prompt, telling of every segment, step and picture; leaving the loop early stops the run. Errors: as generate(). */
  async *stream(prompt: string, options: GenerateOptions = {}): AsyncGenerator<PipelineEvent, void> {
    this.#checkOpen();
    this.#class.checkParts(this.#parts);
    const request = checkRequest(prompt, options, this.#class.defaults(this.#parts));
    const leave = await this.#queue.enter(request.signal);
    try {
      this.#checkOpen();
      for (const model of this.#parts.models.values()) if (model !== null) yield* freezing(model, request.signal);
      yield* run(this.#class, this.#parts, request, await this.#recipe(request));
    } finally {
      leave();
    }
  }

  /** Closes the parts that it opened, once a running request has ended; parts that were brought stay open. Later requests fail. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    const leave = await this.#queue.enter();
    for (const model of this.#own) await model.dispose();
    leave();
  }

  #checkOpen(): void {
    if (this.#disposed) throw new UsageError("the pipeline has been disposed of: open it again with DiffusionPipeline.fromPretrained");
  }

  async #recipe(request: ReturnType<typeof checkRequest>): Promise<RecipeBase> {
    const { scheduler, models, dtype } = this.#parts;
    const present = Array.from(models.values()).filter((model) => model !== null);
    return {
      prompt: request.prompt,
      negativePrompt: request.negativePrompt,
      seed: String(request.seed),
      steps: request.numInferenceSteps,
      guidanceScale: request.guidanceScale,
      height: request.height,
      width: request.width,
      images: request.numImagesPerPrompt,
      model: this.#located.label,
      revision: this.#located.revision,
      variant: this.#located.variant,
      modelHash: await fingerprint(present, [scheduler.className, scheduler.config]),
      pipeline: this.#class.className,
      scheduler: scheduler.className,
      dtype,
      qtypes: Object.fromEntries(present.flatMap((model) => (model.qtypes.size === 0 ? [] : [[model.part, qtypeSummary(model)]]))),
      quantization: this.#quantization,
      useResolutionBinning: request.useResolutionBinning,
      version,
    };
  }
}

/** Freezes what is marked, telling of its progress now and then. */
async function* freezing(model: DiffusionModel, signal: AbortSignal | undefined): AsyncGenerator<PipelineEvent, void> {
  if (model.marks.size === 0) return;
  const { part } = model;
  const totalBytes = model.weightBytes;
  yield { type: "freeze", part, storedBytes: totalBytes, frozenBytes: undefined };
  await model.freeze({ signal });
  yield { type: "freeze", part, storedBytes: totalBytes, frozenBytes: model.weightBytes };
}

/** The qtypes of a part, the most frequent first: "qint8" or "qint8, qint4". */
function qtypeSummary(model: DiffusionModel): string {
  const counts = new Map<string, number>();
  for (const qtype of model.qtypes.values()) counts.set(qtype, (counts.get(qtype) ?? 0) + 1);
  return Array.from(counts, ([qtype, count]) => ({ qtype, count }))
    .sort((a, b) => b.count - a.count)
    .map(({ qtype }) => qtype)
    .join(", ");
}

function givenModels(options: PipelineOptions): Map<string, DiffusionModel | null> {
  const all = { text_encoder: options.textEncoder, transformer: options.transformer, vae: options.vae };
  return new Map(Object.entries(all).flatMap(([part, model]) => (model === undefined ? [] : [[part, model] as const])));
}

function checkThreads(threads: number | undefined): number | undefined {
  if (threads === undefined || (Number.isInteger(threads) && threads >= 1 && threads <= 1024)) return threads;
  throw new UsageError(`threads must be a whole number from 1 to 1024, got ${String(threads)}`);
}

type Components = Awaited<ReturnType<typeof readModelIndex>>["components"];

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
