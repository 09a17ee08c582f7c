/**
 * Writes a part as its library would save it: weights quantized on the way or quantized already, config, and what says which layers have
 * which qtype. Nothing is held but the blocks under way.
 */

import { editJsonObject } from "../checkpoint/json-edit.ts";
import { SafetensorsWriter, type TensorSink } from "../checkpoint/safetensors-writer-node.ts";
import { planShards, type ShardPlan } from "../checkpoint/shard-plan.ts";
import { StagedFolder } from "../checkpoint/staged-folder-node.ts";
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import { UsageError } from "../errors.ts";
import type { LayerModule } from "../graph/graph.ts";
import { findModelClass } from "../models/registry.ts";
import { findQType, type QType } from "../quant/qtype.ts";
import { diffusersQuantization, QUANTO_MAP, type QuantizationLayout, quantoMapText } from "../quant/quantization-files.ts";
import type { OptimizerName } from "../quant/weight-layout.ts";
import {
  type PlannedTensor,
  type PreparedTensor,
  prepareTensors,
  type WriteTensorsOptions,
  writePrepared,
} from "../quant/write-tensors-node.ts";
import { fromFloat32 } from "../tensor/convert.ts";
import { type ComputeDType, elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";

/** A part with weights, as much of it as saving has to know. */
export interface PartToSave {
  /** "transformer", for messages. */
  readonly part: string;
  readonly className: string;
  /** File of the config, for messages. */
  readonly configPath: string;
  /** config.json as it was read, whose spelling is kept. */
  readonly configText: string;
  /** What floats are rounded to; a layer that keeps its precision is saved in float32. */
  readonly dtype: ComputeDType;
  readonly tensors: readonly StoredTensor[];
  readonly modules: readonly LayerModule[];
  /** Layers to be quantized on the way. */
  readonly marks: ReadonlyMap<string, { readonly qtype: QType; readonly optimizer?: OptimizerName | undefined }>;
  /** Names of qtypes of the layers whose tensors are quantized already. */
  readonly qtypes: ReadonlyMap<string, string>;
}

/** How a part is saved. */
export interface SavePartOptions {
  /** Quanto's files, or diffusers' for a class of diffusers. Default "quanto". */
  readonly layout?: QuantizationLayout | undefined;
  /** Largest file. Default: Python's, 10 GB for diffusers and 50 GB for transformers. */
  readonly maxShardBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How a part is saved into a folder of its own. */
export interface SaveFolderOptions extends SavePartOptions, WriteTensorsOptions {
  /** Replaces an existing model's folder. */
  readonly force?: boolean | undefined;
  /** Folders that the part is read from, which are never replaced. */
  readonly sources?: readonly string[] | undefined;
}

/** A part that is ready to be written. */
export interface PreparedPart {
  readonly tensors: readonly PreparedTensor[];
  readonly shards: ShardPlan;
  /** Small files by name. */
  readonly texts: ReadonlyMap<string, string>;
  /** Bytes of all tensors. */
  readonly sizeBytes: number;
}

const LIBRARIES = {
  diffusers: { baseName: "diffusion_pytorch_model", maxShardBytes: 10e9 },
  transformers: { baseName: "model", maxShardBytes: 50e9 },
} as const;

/**
 * Saves a part into a folder of its own, which is whole or not there; returns the folder's full name.
 *
 * Errors: as preparePart, StagedFolder and writePart.
 */
export async function savePart(part: PartToSave, output: string, options: SaveFolderOptions = {}): Promise<string> {
  const prepared = await preparePart(part, options);
  const staged = await StagedFolder.create(output, { ...options, expectedBytes: prepared.sizeBytes });
  try {
    await writePart(staged, "", prepared, options);
    await staged.finish();
  } catch (error) {
    await staged.abort();
    throw error;
  }
  return staged.target;
}

/**
 * Finds out what will be written.
 *
 * Errors: UsageError for what the layout cannot say; those of layOutWeight.
 */
export async function preparePart(part: PartToSave, options: SavePartOptions = {}): Promise<PreparedPart> {
  const { library } = findModelClass(part.className, part.part, part.configPath);
  const { baseName, maxShardBytes } = LIBRARIES[library];
  const texts = textsOf(part, library, options.layout ?? "quanto");
  const tensors = await prepareTensors(planTensors(part), options.signal);
  const outputs = tensors.flatMap((tensor) => tensor.outputs);
  return {
    tensors,
    shards: planShards(outputs, baseName, options.maxShardBytes ?? maxShardBytes),
    texts,
    sizeBytes: outputs.reduce((sum, { shape, dtype }) => sum + elementCount(shape) * elementSizeBytes(dtype), 0),
  };
}

/**
 * Writes a prepared part into a folder under way; `inside` is its folder there, "" the folder itself.
 *
 * Errors: as writePrepared.
 */
export async function writePart(
  staged: StagedFolder,
  inside: string,
  { tensors, shards, texts }: PreparedPart,
  options: WriteTensorsOptions = {},
): Promise<void> {
  const prefix = inside === "" ? "" : `${inside}/`;
  if (inside !== "") await staged.makeFolder(inside);
  for (const [name, text] of texts) await staged.writeText(prefix + name, text);
  if (shards.index !== undefined) await staged.writeText(prefix + shards.index.fileName, shards.index.text);
  const writers = new Map<string, SafetensorsWriter>();
  try {
    for (const file of shards.files) {
      const writer = await SafetensorsWriter.create(`${staged.path}/${prefix}${file.fileName}`, file.tensors, { format: "pt" });
      for (const { name } of file.tensors) writers.set(name, writer);
    }
    const sink: TensorSink = { write: async (name, offset, bytes) => writers.get(name)?.write(name, offset, bytes) };
    await writePrepared(sink, tensors, options);
    for (const writer of new Set(writers.values())) await writer.finish();
  } catch (error) {
    for (const writer of new Set(writers.values())) await writer.abort();
    throw error;
  }
}

function textsOf(part: PartToSave, library: "diffusers" | "transformers", layout: QuantizationLayout): Map<string, string> {
  const qtypes = new Map<string, QType>();
  for (const { name } of part.modules) {
    const qtype = part.marks.get(name)?.qtype ?? (part.qtypes.has(name) ? findQType(part.qtypes.get(name) as string) : undefined);
    if (qtype !== undefined) qtypes.set(name, qtype);
  }
  if (layout === "diffusers") {
    if (library !== "diffusers") {
      throw new UsageError(
        `the layout diffusers is for diffusers' classes, got ${part.part}, which is a ${part.className} of transformers`,
        {
          hint: "name the part that is meant (transformer=qint8), or use the layout quanto",
        },
      );
    }
    const quantization = diffusersQuantization(part.modules, qtypes);
    return new Map([["config.json", editJsonObject(part.configText, { quantization_config: quantization })]]);
  }
  // transformers saves the dtype of its weights; older versions called it torch_dtype.
  const dtype = library === "transformers" ? { dtype: part.dtype, torch_dtype: undefined } : {};
  const config = editJsonObject(part.configText, { ...dtype, quantization_config: undefined });
  const names = new Map(Array.from(qtypes, ([name, qtype]) => [name, qtype.name]));
  return new Map([["config.json", config], ...(qtypes.size === 0 ? [] : [[QUANTO_MAP, quantoMapText(names)] as const])]);
}

function planTensors(part: PartToSave): PlannedTensor[] {
  const modules = new Map(part.modules.map((module) => [module.name, module]));
  const dtypeOf = (module: string) => (modules.get(module)?.keepPrecision ? "float32" : part.dtype);
  const known = new Set(part.tensors.map(({ name }) => name));
  const plan: PlannedTensor[] = [];
  for (const stored of part.tensors) {
    const module = /^(.*)\.weight(?:\..+)?$/.exec(stored.name)?.[1] ?? "";
    const mark = stored.name === `${module}.weight` ? part.marks.get(module) : undefined;
    if (mark !== undefined) plan.push({ stored, quantize: { qtype: mark.qtype, optimizer: mark.optimizer, dtype: dtypeOf(module) } });
    else if (part.qtypes.has(module.replace(/\.weight$/, "")) || isScale(stored.name)) plan.push({ stored });
    else plan.push({ stored, saveAs: stored.name.endsWith(".weight") ? dtypeOf(module) : part.dtype });
  }
  for (const module of [...part.marks.keys(), ...part.qtypes.keys()]) {
    for (const name of [`${module}.input_scale`, `${module}.output_scale`]) {
      const dtype = dtypeOf(module);
      if (!known.has(name)) plan.push({ name, dtype, shape: [], bytes: fromFloat32(Float32Array.of(1), dtype) });
    }
  }
  return plan;
}

/** Of a layer that is quantized already. */
function isScale(name: string): boolean {
  return name.endsWith(".input_scale") || name.endsWith(".output_scale");
}
