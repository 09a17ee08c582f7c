/**
 * From a float checkpoint to a quantized one, on disk: parts that the spec names are quantized tensor by tensor, the others are taken over.
 *
 * Nothing is loaded: a model on the Hub is read by range, and its float weights are never stored.
 */
import type { Folder } from "../checkpoint/byte-source.ts";
import { subfolder } from "../checkpoint/folder.ts";
import { readJsonIfPresent } from "../checkpoint/json.ts";
import { configClass, parseModelIndex } from "../checkpoint/model-index.ts";
import { StagedFolder } from "../checkpoint/staged-folder-node.ts";
import { presentVariant } from "../checkpoint/weight-store.ts";
import { UsageError } from "../errors.ts";
import type { LayerModule } from "../graph/graph.ts";
import type { HubEvent } from "../hub/hub-node.ts";
import { type LocateOptions, lookIntoModel } from "../hub/locate-node.ts";
import { selectPipelineFiles } from "../hub/select-files.ts";
import { MODEL_CLASSES } from "../models/registry.ts";
import { type LayerPlan, planQuantization, type QuantizationPatterns } from "../quant/plan-quantization.ts";
import { QUANTO_MAP, type QuantizationLayout } from "../quant/quantization-files.ts";
import { parseSpec, quantizedParts } from "../quant/spec.ts";
import { memoryUse, resetPeak } from "../runtime/memory-node.ts";
import { type ComputeDType, checkDtype } from "../tensor/dtype.ts";
import { DiffusionModel } from "./diffusion-model.ts";
import { type PreparedPart, preparePart, writePart } from "./save-part.ts";

/** What becomes of a checkpoint. */
export interface QuantizeCheckpointOptions extends LocateOptions, QuantizationPatterns {
  /** A qtype, or pairs: "transformer=qint8,text_encoder=qfloat8". */
  qtype: string;
  /** Folder to write. */
  output: string;
  /** What weights are rounded to first, and what stays float is saved in. Default "float32". */
  dtype?: ComputeDType | undefined;
  /** Quanto's files, or diffusers' for its own classes. Default "quanto". */
  layout?: QuantizationLayout | undefined;
  /** Replaces an existing model's folder. */
  force?: boolean | undefined;
  /** Largest file of weights. Default: Python's. */
  maxShardBytes?: number | undefined;
  onEvent?: ((event: QuantizeEvent | HubEvent) => void) | undefined;
}

/** A part is being quantized. */
export interface QuantizeEvent {
  readonly type: "quantize";
  readonly part: string;
  /** Bytes of float weights that have been read, of all that are to be read. */
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** What became of a part. */
export interface QuantizedPartReport {
  /** Name in model_index.json, or the class's kind when a part alone was quantized. */
  readonly name: string;
  readonly className: string;
  /** Numbers of layers by qtype. */
  readonly qtypes: Readonly<Record<string, number>>;
  /** Layers that could be quantized and were not. */
  readonly floatLayers: number;
  /** Bytes of its weights before and after. */
  readonly storedBytes: number;
  readonly savedBytes: number;
}

/** What was written. */
export interface QuantizeReport {
  readonly output: string;
  readonly parts: readonly QuantizedPartReport[];
  readonly seconds: number;
  readonly peakResidentBytes: number | undefined;
}

/**
 * Quantizes a pipeline's folder or Hub id, or the folder of one part, into a new folder.
 *
 * Errors: UsageError for a spec, pattern or layout that does not fit, or an output that is taken; CheckpointError and DownloadError of
 * opening and reading; FileError; CancelledError. The output is whole or not there.
 */
export async function quantizeCheckpoint(idOrFolder: string, options: QuantizeCheckpointOptions): Promise<QuantizeReport> {
  const started = performance.now();
  resetPeak();
  const spec = parseSpec(options.qtype);
  const dtype = checkDtype(options.dtype);
  const { folder } = await lookIntoModel(idOrFolder, options);
  const source = await openSource(folder, options);
  const wanted = quantizedParts(spec, source.parts);
  const jobs: Job[] = [];
  try {
    for (const name of wanted) jobs.push(await openJob(source, name, dtype, options));
    const modules = new Map(jobs.map(({ name, model }) => [name, model.modules.map((module) => module.name)]));
    const plan = planQuantization(spec, modules, options);
    for (const job of jobs) {
      const marks = withoutConvolutions(plan.get(job.name) ?? new Map(), job.model.modules, options.layout);
      if (marks.size === 0) continue;
      job.model.mark(marks);
      job.prepared = await preparePart(job.model.toSave(), options);
    }
    const output = await writeAll(source, jobs, idOrFolder, options);
    const seconds = (performance.now() - started) / 1000;
    return { output, parts: jobs.flatMap(reportOf), seconds, peakResidentBytes: memoryUse().peakResidentBytes };
  } finally {
    for (const { model } of jobs) await model.dispose();
  }
}

/** diffusers quantizes linear layers alone. */
function withoutConvolutions(
  marks: ReadonlyMap<string, LayerPlan>,
  modules: readonly LayerModule[],
  layout: QuantizationLayout | undefined,
): ReadonlyMap<string, LayerPlan> {
  if (layout !== "diffusers") return marks;
  const linear = new Set(modules.filter(({ kind }) => kind === "linear").map(({ name }) => name));
  return new Map([...marks].filter(([name]) => linear.has(name)));
}

/** A checkpoint that is looked into. */
interface Source {
  readonly folder: Folder;
  /** Whether it is a pipeline; else it is one part, in the folder itself. */
  readonly isPipeline: boolean;
  readonly parts: readonly { readonly name: string; readonly className: string; readonly neverQuantized: string | undefined }[];
  /** Files that make up the pipeline. */
  readonly files: readonly string[];
}

/** A part that is quantized. */
interface Job {
  /** Name of the part, and in `inside` its folder. */
  readonly name: string;
  readonly inside: string;
  readonly model: DiffusionModel;
  /** Undefined where no layer of it is quantized. */
  prepared?: PreparedPart;
}

async function openSource(folder: Folder, { variant, signal }: QuantizeCheckpointOptions): Promise<Source> {
  const value = await readJsonIfPresent(folder, "model_index.json", { signal });
  if (value === undefined) {
    const className = configClass(await readJsonIfPresent(folder, "config.json", { signal }))?.className ?? "";
    return { folder, isPipeline: false, parts: [partOf(kindOf(className), className)], files: [] };
  }
  const index = parseModelIndex(value, `${folder.name}/model_index.json`);
  const components = Object.entries(index.components).flatMap(([name, component]) =>
    component === null ? [] : [{ name, className: component.className }],
  );
  const files = selectPipelineFiles(
    await folder.list(),
    { components, ignored: [] },
    {
      id: folder.name,
      subfolder: "",
      variant,
      needs: () => true,
    },
  );
  const parts = components.filter(({ name, className }) => isModel(className) || isNamedAsModel(name));
  return { folder, isPipeline: true, parts: parts.map(({ name, className }) => partOf(name, className)), files };
}

function partOf(name: string, className: string) {
  const found = isModel(className) ? MODEL_CLASSES[className] : undefined;
  return { name, className, neverQuantized: found?.neverQuantized };
}

function isModel(className: string): boolean {
  return Object.hasOwn(MODEL_CLASSES, className);
}

/** A part of a class that halftone does not know yet must be refused, not skipped. */
function isNamedAsModel(name: string): boolean {
  return /^(transformer|text_encoder)/.test(name);
}

/** What a pipeline would call a part of this class. */
function kindOf(className: string): string {
  if (/Transformer.*DModel$/.test(className)) return "transformer";
  return /^Autoencoder/.test(className) ? "vae" : "text_encoder";
}

async function openJob(source: Source, name: string, dtype: ComputeDType, options: QuantizeCheckpointOptions): Promise<Job> {
  const inside = source.isPipeline ? name : "";
  const folder = subfolder(source.folder, inside);
  await refuseQuantized(folder, name, options.signal);
  const variant = presentVariant(await folder.list(), options.variant);
  const className = source.parts.find((part) => part.name === name)?.className;
  const model = await DiffusionModel.open(folder, {
    part: name,
    className: className || undefined,
    dtype,
    variant,
    signal: options.signal,
  });
  return { name, inside, model };
}

async function refuseQuantized(folder: Folder, name: string, signal: AbortSignal | undefined): Promise<void> {
  const map = await folder.open(QUANTO_MAP);
  await map?.close();
  const config = new Map(Object.entries((await readJsonIfPresent(folder, "config.json", { signal })) ?? {}));
  if (map === undefined && (config.get("quantization_config") ?? undefined) === undefined) return;
  throw new UsageError(`${name} is quantized already`, { where: folder.name, hint: "quantize the float checkpoint that it was made from" });
}

/** Writes quantized parts and takes the others over; returns the folder's full name. */
async function writeAll(source: Source, jobs: readonly Job[], idOrFolder: string, options: QuantizeCheckpointOptions): Promise<string> {
  const { output, force, signal, onEvent } = options;
  const written = jobs.filter(({ prepared }) => prepared !== undefined);
  const others = source.files.filter((path) => !written.some(({ inside }) => path.startsWith(`${inside}/`)));
  const expectedBytes = written.reduce((sum, { prepared }) => sum + (prepared?.sizeBytes ?? 0), 0);
  const staged = await StagedFolder.create(output, { force, sources: [idOrFolder], expectedBytes });
  try {
    for (const { name, inside, prepared } of written) {
      const onProgress = (doneBytes: number, totalBytes: number) => onEvent?.({ type: "quantize", part: name, doneBytes, totalBytes });
      if (prepared !== undefined) await writePart(staged, inside, prepared, { signal, onProgress });
    }
    for (const path of others) await takeOver(source.folder, path, staged, options.variant, signal);
    await staged.finish();
  } catch (error) {
    await staged.abort();
    throw error;
  }
  return staged.target;
}

async function takeOver(folder: Folder, path: string, staged: StagedFolder, variant: string | undefined, signal: AbortSignal | undefined) {
  const file = await folder.open(path);
  if (file === undefined) return;
  const slash = path.lastIndexOf("/");
  if (slash > 0) await staged.makeFolder(path.slice(0, slash));
  try {
    await staged.take(file, plainName(path, variant), signal);
  } finally {
    await file.close();
  }
}

/** Parts that are written have no variant, so those that are taken over lose theirs; shards keep their names, which the index lists. */
function plainName(path: string, variant: string | undefined): string {
  if (variant === undefined) return path;
  for (const [own, plain] of [
    [`.${variant}.safetensors`, ".safetensors"],
    [`.safetensors.index.${variant}.json`, ".safetensors.index.json"],
    [`.safetensors.${variant}.index.json`, ".safetensors.index.json"],
  ] as const) {
    if (path.endsWith(own) && !/-\d{5}-of-\d{5}/.test(path)) return path.slice(0, -own.length) + plain;
  }
  return path;
}

function reportOf({ name, model, prepared }: Job): QuantizedPartReport[] {
  if (prepared === undefined) return [];
  const qtypes: Record<string, number> = {};
  for (const { qtype } of model.marks.values()) qtypes[qtype.name] = (qtypes[qtype.name] ?? 0) + 1;
  const floatLayers = model.modules.length - model.marks.size;
  const { className, storedBytes } = model;
  return [{ name, className, qtypes, floatLayers, storedBytes, savedBytes: prepared.sizeBytes }];
}
