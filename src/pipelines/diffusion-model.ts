/**
 * One part of a pipeline that has weights: a transformer, a text encoder or a VAE, opened but not read.
 *
 * Opening reads headers alone and checks every name and shape that the class needs, so that a wrong checkpoint fails at once.
 */
import type { Folder } from "../checkpoint/byte-source.ts";
import { readJson } from "../checkpoint/json.ts";
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import { openWeights, type WeightStore } from "../checkpoint/weight-store.ts";
import { Weights } from "../checkpoint/weights.ts";
import { CheckpointError } from "../errors.ts";
import { buildGraphs } from "../graph/segment.ts";
import type { HubEvent } from "../hub/hub-node.ts";
import { type LocateOptions, locateModel } from "../hub/locate-node.ts";
import { findModelClass } from "../models/registry.ts";
import { type ComputeDType, checkDtype } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";

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
  /** Names of tensors that the class has no use for. */
  readonly unusedTensors: readonly string[];
  readonly #store: WeightStore;

  private constructor(store: WeightStore, about: Omit<DiffusionModel, "weights" | "tensors" | "parameters" | "weightBytes" | "dispose">) {
    this.#store = store;
    this.part = about.part;
    this.className = about.className;
    this.config = about.config;
    this.dtype = about.dtype;
    this.configPath = about.configPath;
    this.unusedTensors = about.unusedTensors;
  }

  /**
   * Opens a part's folder.
   *
   * Errors: CheckpointError for a config or tensor that is missing or does not fit; UnsupportedError for a class halftone does not run.
   */
  static async open(folder: Folder, options: OpenModelOptions): Promise<DiffusionModel> {
    const { part, dtype, variant, signal } = options;
    const configPath = `${folder.name}/config.json`;
    const config = asRecord(await readJson(folder, "config.json", { signal }), part, configPath);
    const className = options.className ?? classNameOf(config, part, configPath);
    const modelClass = findModelClass(className, part, configPath);
    const baseNames = [WEIGHTS_NAME[modelClass.library]];
    const store = await openWeights(folder, "", { baseNames, variant, signal });
    try {
      const weights = Weights.of({ component: part, name: store.name, tensors: store.tensors });
      for (const graph of modelClass.probe(weights, config, dtype, configPath)) buildGraphs(graph, graph.segments.length);
      return new DiffusionModel(store, { part, className, config, dtype, configPath, unusedTensors: weights.unused() });
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

  /** The scope that model code walks. */
  weights(): Weights {
    return Weights.of({ component: this.part, name: this.#store.name, tensors: this.#store.tensors });
  }

  /** Every stored tensor. */
  get tensors(): readonly StoredTensor[] {
    return [...this.#store.tensors.values()];
  }

  /** Numbers that the checkpoint stores for this part. */
  get parameters(): number {
    return this.tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  }

  /** Bytes of the stored weights. */
  get weightBytes(): number {
    return this.tensors.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** Closes the files; idempotent. */
  async dispose(): Promise<void> {
    await this.#store.close();
  }
}

function asRecord(value: unknown, part: string, where: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new CheckpointError(`${part} config holds no object, expected the options of a model class`, { where });
}

/** diffusers writes _class_name, transformers a list of architectures. */
function classNameOf(config: Readonly<Record<string, unknown>>, part: string, where: string): string {
  const { _class_name: className, architectures } = config;
  if (typeof className === "string") return className;
  if (Array.isArray(architectures) && typeof architectures[0] === "string") return architectures[0];
  throw new CheckpointError(`${part} config names no class, expected _class_name or architectures`, { where });
}
