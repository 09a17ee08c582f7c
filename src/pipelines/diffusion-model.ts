/**
 * One part of a pipeline that has weights: a transformer, a text encoder or a VAE, opened but not read.
 *
 * Opening reads headers alone and checks every name and shape that the class needs, so that a wrong checkpoint fails at once. A part is
 * quantized in two steps, as with Quanto: quantize() marks layers and reads nothing, freeze() replaces their weights.
 */
import type { Folder } from "../checkpoint/byte-source.ts";
import { parseJson } from "../checkpoint/json.ts";
import { configClass } from "../checkpoint/model-index.ts";
import { readTensor, type StoredTensor } from "../checkpoint/stored-tensor.ts";
import { openWeights, type WeightStore } from "../checkpoint/weight-store.ts";
import { type IntegerProducts, Weights, type WeightTable } from "../checkpoint/weights.ts";
import { CheckpointError, UsageError } from "../errors.ts";
import type { LayerModule } from "../graph/graph.ts";
import { buildGraphs } from "../graph/segment.ts";
import type { HubEvent } from "../hub/hub-node.ts";
import { type LocateOptions, locateModel } from "../hub/locate-node.ts";
import { currentClassName, findModelClass, type ModelClass } from "../models/registry.ts";
import { findQType, type QType } from "../quant/qtype.ts";
import { type QuantizationLayout, readQuantization } from "../quant/quantization-files.ts";
import { layOutWeight, type OptimizerName } from "../quant/weight-layout.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { type ComputeDType, checkDtype, elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { type FreezeOptions, type FrozenFile, freezeTensors } from "./freeze-node.ts";
import { type PartToSave, savePart } from "./save-part.ts";

/** What each library calls a file of weights. */
const WEIGHTS_NAME = { transformers: "model", diffusers: "diffusion_pytorch_model" } as const;

/** Where a part is and how it is read. */
export interface OpenModelOptions {
  /** Name of the component ("transformer"), for messages. */
  part: string;
  /** Class by model_index.json; default: what config.json says. */
  className?: string | undefined;
  dtype: ComputeDType;
  variant?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** How a part is opened by itself. */
export interface ModelOptions extends LocateOptions {
  /** What weights are rounded to; a CPU calculates in float32 whatever this says. Default "float32". */
  dtype?: ComputeDType | undefined;
  /** Told of downloads and warnings. */
  onEvent?: ((event: HubEvent) => void) | undefined;
}

/** How a part is saved. */
export interface SavePretrainedOptions {
  /** Quanto's files, or diffusers' for a class of diffusers. Default "quanto". */
  layout?: QuantizationLayout | undefined;
  /** Replaces an existing model's folder. */
  force?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Told of the bytes that have been read, of all that are to be read. */
  onProgress?: ((doneBytes: number, totalBytes: number) => void) | undefined;
}

/** What is wanted of a layer's weight. */
export interface QuantizationMark {
  readonly qtype: QType;
  readonly optimizer: OptimizerName | undefined;
}

/** The layers that freeze() has quantized. */
interface FrozenLayers {
  readonly file: FrozenFile;
  /** Names of qtypes by layer. */
  readonly qtypes: ReadonlyMap<string, string>;
}

/** What a part was opened from. */
interface Opened {
  readonly store: WeightStore;
  readonly modelClass: ModelClass;
  readonly part: string;
  readonly className: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly configText: string;
  readonly dtype: ComputeDType;
  readonly configPath: string;
  /** qtypes of the layers that are stored quantized. */
  readonly qtypes: ReadonlyMap<string, string> | undefined;
  readonly zeroScales: ReadonlySet<string> | undefined;
}

/** A part with weights. */
export class DiffusionModel {
  /** "transformer", "text_encoder": the folder's name in a pipeline. */
  readonly part: string;
  readonly className: string;
  /** config.json as it was read. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What weights are rounded to when they are read. */
  readonly dtype: ComputeDType;
  /** File of the config, for messages. */
  readonly configPath: string;
  /** The linear and convolutional layers: what can be quantized. */
  readonly modules: readonly LayerModule[];
  /** Names of tensors that the class has no use for. */
  readonly unusedTensors: readonly string[];
  readonly #class: ModelClass;
  readonly #configText: string;
  readonly #store: WeightStore;
  #table: WeightTable;
  #marks: ReadonlyMap<string, QuantizationMark> = new Map();
  #frozen: FrozenLayers | undefined;

  private constructor(opened: Opened) {
    this.part = opened.part;
    this.className = opened.className;
    this.config = opened.config;
    this.dtype = opened.dtype;
    this.configPath = opened.configPath;
    this.#class = opened.modelClass;
    this.#configText = opened.configText;
    this.#store = opened.store;
    const { store, qtypes, zeroScales } = opened;
    this.#table = { component: opened.part, name: store.name, tensors: store.tensors, qtypes, zeroScales };
    const weights = this.weights();
    const models = opened.modelClass.probe(weights, opened.config, opened.dtype, opened.configPath);
    const layers = models.flatMap((model) => buildGraphs(model, model.segments.length)).flatMap(({ graph }) => graph.modules);
    this.modules = [...new Map(layers.map((layer) => [layer.name, layer])).values()];
    // Quanto also stores the scales of activations, which are 1 unless these are quantized.
    const unused = [...weights.unused(), ...store.unlisted];
    this.unusedTensors = unused.filter((name) => !this.qtypes.has(name.replace(/\.(input|output)_scale$/, "")));
  }

  /**
   * Opens a part's folder.
   *
   * Errors: CheckpointError for a config or tensor that is missing or does not fit; UnsupportedError for a class halftone does not run.
   */
  static async open(folder: Folder, options: OpenModelOptions): Promise<DiffusionModel> {
    const { part, dtype, variant, signal } = options;
    const configPath = `${folder.name}/config.json`;
    const configText = await readConfigText(folder, configPath, signal);
    const config = asRecord(parseJson(new TextEncoder().encode(configText), configPath), part, configPath);
    const className = currentClassName(options.className ?? classNameOf(config, part, configPath), config);
    const modelClass = findModelClass(className, part, configPath);
    const store = await openWeights(folder, "", { baseNames: [WEIGHTS_NAME[modelClass.library]], label: part, variant, signal });
    try {
      const quantization = await readQuantization(folder, config, store.tensors.keys(), signal);
      const qtypes = quantization?.qtypes;
      const zeroScales = qtypes && (await findZeroScales(store.tensors, qtypes));
      return new DiffusionModel({ store, modelClass, part, className, config, configText, dtype, configPath, qtypes, zeroScales });
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /**
   * Opens one part of a model by itself: a folder or Hub id whose `subfolder` holds its config.json.
   *
   * Errors: as open(); DownloadError.
   */
  static async fromPretrained(idOrFolder: string, options: ModelOptions = {}): Promise<DiffusionModel> {
    const { subfolder = "", variant, signal } = options;
    const dtype = checkDtype(options.dtype);
    const { folder } = await locateModel(idOrFolder, options, options.onEvent);
    return DiffusionModel.open(folder, { part: subfolder.split("/").at(-1) || "model", dtype, variant, signal });
  }

  /** Why the part is never quantized, where it is not. */
  get neverQuantized(): string | undefined {
    return this.#class.neverQuantized;
  }

  /** The scope that model code walks. */
  weights(integerProducts?: IntegerProducts): Weights {
    return Weights.of({ ...this.#table, integerProducts });
  }

  /** Every tensor that the part is made of: quantized ones in place of those that they replaced. */
  get tensors(): readonly StoredTensor[] {
    return [...this.#table.tensors.values()];
  }

  /** Every tensor as the checkpoint stores it. */
  get storedTensors(): readonly StoredTensor[] {
    return [...this.#store.tensors.values()];
  }

  /** Numbers in the weights as the checkpoint stores them. */
  get parameters(): number {
    return this.storedTensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  }

  /** Bytes of the weights as they are now. */
  get weightBytes(): number {
    return this.tensors.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** Bytes of the weights as the checkpoint stores them. */
  get storedBytes(): number {
    return this.#store.sizeBytes;
  }

  /** Layers that quantize() has marked and freeze() has not yet replaced, by name. */
  get marks(): ReadonlyMap<string, QuantizationMark> {
    return this.#marks;
  }

  /** qtypes of the layers whose weights are quantized, by name. */
  get qtypes(): ReadonlyMap<string, string> {
    return this.#table.qtypes ?? new Map();
  }

  /**
   * Marks layers; later marks of the same layer win. quantize() is the way to call it.
   *
   * Errors: UsageError for a part that is frozen, or whose class is never quantized.
   */
  mark(marks: ReadonlyMap<string, QuantizationMark>): void {
    if (this.neverQuantized !== undefined) throw new UsageError(`${this.part} cannot be quantized: ${this.neverQuantized}`);
    if (this.qtypes.size > 0 || this.#frozen !== undefined) {
      throw new UsageError(`${this.part} is quantized already`, {
        hint: "open it again from the float checkpoint to quantize it otherwise",
      });
    }
    this.#marks = new Map([...this.#marks, ...marks]);
  }

  /**
   * Replaces the weights of marked layers by quantized ones, tensor by tensor; does nothing when nothing is marked.
   *
   * Errors: CheckpointError for a weight that is not finite; FileError when the execution cache cannot be written; CancelledError.
   */
  async freeze(options: FreezeOptions = {}): Promise<void> {
    if (this.#marks.size === 0) return;
    const marked = this.modules.filter(({ name }) => this.#marks.has(name));
    const plan = marked.map(({ name, shape, keepPrecision }) => ({
      stored: this.weights().at(name).tensor("weight", shape),
      quantize: { ...(this.#marks.get(name) as QuantizationMark), dtype: keepPrecision ? ("float32" as const) : this.dtype },
    }));
    const file = await freezeTensors(plan, options);
    const qtypes = new Map(Array.from(this.#marks, ([name, { qtype }]) => [name, qtype.name]));
    this.#frozen = { file, qtypes };
    this.#table = { ...this.#table, zeroScales: await findZeroScales(file.tensors, qtypes) };
    this.useQuantized(qtypes.keys());
    this.#marks = new Map();
  }

  /** Shows `use` the part as freeze() would leave it, but for its quantized weights, which cannot be read: for plans, before there are any. */
  asIfFrozen<T>(use: () => T): T {
    const [table, marks] = [this.#table, this.#marks];
    if (marks.size === 0) return use();
    const tensors = new Map(table.tensors);
    for (const { name, shape, keepPrecision } of this.modules) {
      const mark = marks.get(name);
      const stored = tensors.get(`${name}.weight`);
      if (mark === undefined || stored === undefined) continue;
      tensors.delete(stored.name);
      const dtype = keepPrecision ? "float32" : this.dtype;
      const { data, scale, shift } = layOutWeight({ name: stored.name, shape, dtype, ...mark });
      for (const layout of shift === undefined ? [data, scale] : [data, scale, shift]) {
        const tensor = `${stored.name}.${layout.key}`;
        const sizeBytes = elementCount(layout.shape) * elementSizeBytes(layout.dtype);
        tensors.set(tensor, { name: tensor, dtype: layout.dtype, shape: layout.shape, source: stored.source, offset: 0, sizeBytes });
      }
    }
    try {
      this.#table = { ...table, tensors, qtypes: new Map(Array.from(marks, ([name, { qtype }]) => [name, qtype.name])) };
      this.#marks = new Map();
      return use();
    } finally {
      [this.#table, this.#marks] = [table, marks];
    }
  }

  /**
   * Calculates from now on with the quantized weights of these layers alone, and with the stored ones of the other layers that freeze() has
   * quantized: what a layer does to the result can be measured without quantizing again.
   *
   * Errors: UsageError for a layer that freeze() has not quantized.
   */
  useQuantized(layers: Iterable<string>): void {
    const { file, qtypes = new Map<string, string>() } = this.#frozen ?? {};
    const chosen = new Map<string, string>();
    for (const name of layers) {
      const qtype = qtypes.get(name);
      if (qtype === undefined) throw new UsageError(`${this.part} has no quantized layer ${JSON.stringify(name)}: freeze() makes them`);
      chosen.set(name, qtype);
    }
    const tensors = new Map(this.#store.tensors);
    for (const name of chosen.keys()) tensors.delete(`${name}.weight`);
    for (const [name, tensor] of file?.tensors ?? []) if (chosen.has(name.slice(0, name.indexOf(".weight.")))) tensors.set(name, tensor);
    if (file !== undefined) this.#table = { ...this.#table, tensors, qtypes: chosen };
  }

  /**
   * From now on every attention layer calculates its queries, keys and values in one product (keys and values, for another sequence).
   *
   * The numbers stay the same, and so does what is stored: it may be called before or after quantizing, and undone.
   * Errors: UsageError for a part whose attention layers are not diffusers'.
   */
  fuseQkvProjections(): void {
    if (!this.modules.some(({ name }) => name.endsWith(".to_q"))) {
      throw new UsageError(`${this.part} (${this.className}) has no projections to fuse, only diffusers' transformers have`);
    }
    this.#table = { ...this.#table, fusesQkv: true };
  }

  /** Undoes fuseQkvProjections(). */
  unfuseQkvProjections(): void {
    this.#table = { ...this.#table, fusesQkv: false };
  }

  /**
   * Saves the part into a folder of its own, as Quanto does (or diffusers, for its classes): quantized weights, layers that are marked, which
   * are quantized on the way, and everything else in the part's dtype. Streams; the folder is whole or not there. Returns its full name.
   *
   * Errors: UsageError for a folder that is taken (without `force`) or a layout that cannot say what is quantized; FileError;
   * CheckpointError for a weight that is not finite; CancelledError.
   */
  async savePretrained(output: string, options: SavePretrainedOptions = {}): Promise<string> {
    const sources = [...new Set(this.tensors.flatMap(({ source }) => source.file?.folder ?? []))];
    return savePart(this.toSave(), output, { ...options, sources });
  }

  /** Everything that saving has to know of the part as it is now. */
  toSave(): PartToSave {
    const { part, className, configPath, dtype, modules, marks, qtypes, tensors } = this;
    return { part, className, configPath, configText: this.#configText, dtype, modules, marks, qtypes, tensors };
  }

  /** Closes the files; idempotent. */
  async dispose(): Promise<void> {
    await this.#store.close();
    const frozen = this.#frozen;
    this.#frozen = undefined;
    await frozen?.file.close();
  }
}

/** Modules of float8 that have a scale of 0, from their scales, which are small. */
async function findZeroScales(
  tensors: ReadonlyMap<string, StoredTensor>,
  qtypes: ReadonlyMap<string, string>,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (const [module, qtype] of qtypes) {
    const scale = findQType(qtype).kind === "float" ? tensors.get(`${module}.weight._scale`) : undefined;
    if (scale !== undefined && toFloat32(await readTensor(scale), scale.dtype).includes(0)) found.add(module);
  }
  return found;
}

async function readConfigText(folder: Folder, where: string, signal: AbortSignal | undefined): Promise<string> {
  const source = await folder.open("config.json");
  if (source === undefined) {
    const hint = "a model folder has diffusers' layout, with model_index.json";
    throw new CheckpointError('"config.json" is missing', { where: folder.name, hint });
  }
  try {
    if (source.sizeBytes > MAX_CONFIG_BYTES)
      throw new CheckpointError(`config.json has ${source.sizeBytes} bytes, expected at most ${MAX_CONFIG_BYTES}`, { where });
    return new TextDecoder().decode(await source.read(0, source.sizeBytes, signal));
  } finally {
    await source.close();
  }
}

const MAX_CONFIG_BYTES = 2 ** 20;

function asRecord(value: unknown, part: string, where: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new CheckpointError(`${part} config holds no object, expected the options of a model class`, { where });
}

function classNameOf(config: Readonly<Record<string, unknown>>, part: string, where: string): string {
  const found = configClass(config);
  if (found !== undefined) return found.className;
  throw new CheckpointError(`${part} config names no class, expected _class_name or architectures`, { where });
}

/** Shows `use` several parts as freezing all of them would leave them. */
export function asIfFrozen<T>(models: readonly DiffusionModel[], use: () => T): T {
  return models.reduce((inner, model) => () => model.asIfFrozen(inner), use)();
}
