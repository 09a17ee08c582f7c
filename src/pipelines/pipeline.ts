/**
 * A text-to-image pipeline: opened from a checkpoint folder or Hub id, then asked for pictures.
 *
 * Opening reads configs, tokenizers and the headers of the weights. Weights are mapped when their phase begins and released when it ends.
 */
import { UsageError, withArticle } from "../errors.ts";
import type { GeneratedImage } from "../image/image.ts";
import type { QuantizationRequest } from "../image/recipe.ts";
import type { Scheduler } from "../schedulers/scheduler.ts";
import type { DecodeWay } from "./decode-ways.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { PipelineEvent, RunReport } from "./events.ts";
import { fastParts, fastWarnings } from "./fast.ts";
import { checkSlot, type OpenedModel, type OpenedPipeline, openPipeline, type PipelineOptions } from "./open-pipeline.ts";
import type { GenerateOptions } from "./options.ts";
import type { PipelineParts } from "./parts.ts";
import type { PipelineClass } from "./pipeline-class.ts";
import { quantizeParts } from "./quantization.ts";
import { Queue } from "./queue.ts";
import { recipeOf } from "./recipe-of.ts";
import { checkRequest, type Request } from "./request.ts";
import { refuseUnfit, run } from "./run.ts";

/** What generate() returns. */
export interface GenerateResult {
  readonly images: readonly GeneratedImage[];
  readonly report: RunReport;
}

/** How the VAE decodes in strips. */
export interface VaeTilingOptions {
  /** Rows of a strip of the picture: even, at least 2. Default 16. */
  rows?: number | undefined;
  /** Where maps are kept between layers: in memory, or in temporary files, which takes the least memory. Default "memory". */
  maps?: "memory" | "file" | undefined;
}

/** A pipeline; one request at a time, later ones wait. */
export class DiffusionPipeline {
  readonly #class: PipelineClass;
  readonly #parts: PipelineParts;
  readonly #located: OpenedModel;
  readonly #queue = new Queue();
  /** Parts that this pipeline opened, and therefore closes. */
  readonly #own: readonly DiffusionModel[];
  /** Warnings of the class that have been given. */
  readonly #warned = new Set<string>();
  #disposed: Promise<void> | undefined;
  #quantization: QuantizationRequest | undefined;
  #decodeWay: DecodeWay | undefined;

  private constructor({ pipelineClass, parts, located, own }: OpenedPipeline) {
    this.#class = pipelineClass;
    this.#parts = parts;
    this.#located = located;
    this.#own = own;
  }

  /**
   * Opens a pipeline.
   *
   * Errors: CheckpointError for files that are missing, damaged or do not fit; UnsupportedError for a class or option that halftone does not
   * run; DownloadError; UsageError for options.
   */
  static async fromPretrained(idOrFolder: string, options: PipelineOptions = {}): Promise<DiffusionPipeline> {
    return new DiffusionPipeline(await openPipeline(idOrFolder, options));
  }

  /** diffusers' name of the class. */
  get className(): string {
    return this.#class.className;
  }

  /** The denoising transformer, or null when the pipeline was opened without one. */
  get transformer(): DiffusionModel | null {
    return this.#part("transformer");
  }

  set transformer(model: DiffusionModel | null) {
    this.#setPart("transformer", model);
  }

  /** The (first) text encoder. */
  get textEncoder(): DiffusionModel | null {
    return this.#part("text_encoder");
  }

  set textEncoder(model: DiffusionModel | null) {
    this.#setPart("text_encoder", model);
  }

  /** The second text encoder. Errors: UsageError where the class has none, as of all parts. */
  get textEncoder2(): DiffusionModel | null {
    return this.#part("text_encoder_2");
  }

  set textEncoder2(model: DiffusionModel | null) {
    this.#setPart("text_encoder_2", model);
  }

  /** The third text encoder. */
  get textEncoder3(): DiffusionModel | null {
    return this.#part("text_encoder_3");
  }

  set textEncoder3(model: DiffusionModel | null) {
    this.#setPart("text_encoder_3", model);
  }

  /** The autoencoder whose decoder makes pictures of latents. */
  get vae(): DiffusionModel | null {
    return this.#part("vae");
  }

  set vae(model: DiffusionModel | null) {
    this.#setPart("vae", model);
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
    const request = { spec, ...patterns };
    quantizeParts(this.#parts.models, request);
    this.#quantization = request;
  }

  /**
   * Keeps a part in memory only while its phase lasts, and there the transformer as one program: the fastest arrangement.
   *
   * In diffusers parts move between an accelerator and the main memory; on a CPU they are mapped from their files when their phase begins and
   * released when it ends, whatever is asked for.
   */
  enableModelCpuOffload(): void {
    this.#parts.memory = { ...this.#parts.memory, prefer: "resident" };
  }

  /**
   * Works through every model a few segments at a time, each released before the next is read: the least memory that the transformer and the text
   * encoders can do with, in some more time. How pictures are decoded is planned as ever; enableVaeTiling() decides it.
   */
  enableSequentialCpuOffload(): void {
    this.#parts.memory = { ...this.#parts.memory, prefer: "streamed" };
  }

  /**
   * Decodes later pictures in strips of rows, which takes a fraction of the memory and somewhat more time.
   *
   * diffusers blends tiles that were decoded apart; here every strip is normalised by the statistics of the whole picture, so that the result
   * is the same as without. Errors: UsageError for an option that does not fit.
   */
  enableVaeTiling({ rows = 16, maps = "memory" }: VaeTilingOptions = {}): void {
    if (!Number.isSafeInteger(rows) || rows < 2 || rows % 2 !== 0)
      throw new UsageError(`rows must be an even number from 2 on, got ${rows}`);
    if (maps !== "memory" && maps !== "file") throw new UsageError(`maps must be "memory" or "file", got ${JSON.stringify(maps)}`);
    this.#decodeWay = { kind: "strips", rows, maps };
  }

  /** Decodes later pictures whole again. */
  disableVaeTiling(): void {
    this.#decodeWay = undefined;
  }

  /** Does nothing: pictures are decoded one at a time whether it is called or not, which is what it asks of diffusers. */
  enableVaeSlicing(): void {}

  /** Does nothing, as enableVaeSlicing(). */
  disableVaeSlicing(): void {}

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
    this.#check(prompt, options, this.#parts);
    const leave = await this.#queue.enter(options.signal);
    try {
      // Parts that are assigned from now on belong to the next request.
      const own = { ...this.#parts, models: new Map(this.#parts.models), decodeWay: this.#decodeWay };
      const request = this.#check(prompt, options, own);
      const parts = request.fast ? await fastParts(own) : own;
      const said = [...(this.#class.warnings?.(parts, request) ?? []), ...(request.fast ? fastWarnings(parts) : [])];
      const warnings = said.filter((message) => !this.#warned.has(message));
      for (const message of warnings) {
        this.#warned.add(message);
        yield { type: "warning", message };
      }
      refuseUnfit(this.#class, parts, request);
      for (const model of parts.models.values()) if (model !== null) yield* freezing(model, request.signal);
      const about = { pipelineClass: this.#class, parts, located: this.#located, quantization: this.#quantization };
      yield* run(this.#class, parts, request, await recipeOf(about, request), warnings);
    } finally {
      leave();
    }
  }

  /**
   * Closes the parts that it opened, once a running request has ended; parts that were brought stay open. Later requests fail.
   *
   * It waits for a running request, so it must not be awaited inside that request's own loop: leave the loop first.
   */
  async dispose(): Promise<void> {
    this.#disposed ??= this.#close();
    await this.#disposed;
  }

  async #close(): Promise<void> {
    const leave = await this.#queue.enter();
    for (const model of this.#own) await model.dispose();
    leave();
  }

  #checkOpen(): void {
    if (this.#disposed !== undefined)
      throw new UsageError("the pipeline has been disposed of: open it again with DiffusionPipeline.fromPretrained");
  }

  #check(prompt: string, options: GenerateOptions, parts: PipelineParts): Request {
    for (const [slot, model] of parts.models) checkSlot(this.#class, slot, model);
    this.#class.checkParts(parts);
    return checkRequest(prompt, options, this.#class, parts);
  }

  #part(slot: string): DiffusionModel | null {
    this.#checkHas(slot);
    return this.#parts.models.get(slot) ?? null;
  }

  #setPart(slot: string, model: DiffusionModel | null): void {
    this.#checkHas(slot);
    this.#parts.models.set(slot, model);
  }

  #checkHas(slot: string): void {
    if (!Object.hasOwn(this.#class.models, slot)) throw new UsageError(`${withArticle(this.className)} has no ${slot}`);
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
