/** The parts of an opened pipeline, by the names of model_index.json. */
import type { IntegerProducts } from "../checkpoint/weights.ts";
import { UsageError } from "../errors.ts";
import type { HoldOptions } from "../runtime/hold-plan.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Scheduler } from "../schedulers/scheduler.ts";
import type { ComputeDType } from "../tensor/dtype.ts";
import type { Tokenizer } from "../tokenizers/tokenizer.ts";
import type { DecodeWay } from "./decode-ways.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { GuidanceWay } from "./pipeline-class.ts";

/** What a pipeline runs on. */
export interface PipelineParts {
  readonly runtime: Runtime;
  readonly dtype: ComputeDType;
  /** Parts with weights, one entry for each slot of the class; null where the checkpoint or the caller left one out. */
  readonly models: Map<string, DiffusionModel | null>;
  readonly tokenizers: ReadonlyMap<string, Tokenizer>;
  readonly scheduler: Scheduler;
  /** How much memory may be used, and how parts are to be held. Default: what is free, in the fastest way that fits. */
  memory?: MemoryOptions | undefined;
  /** How the denoiser of this run is to call the transformer. Default "batched". */
  readonly guidance?: GuidanceWay | undefined;
  /** How pictures are decoded; default: what the plan chooses, or whole where there is none. */
  readonly decodeWay?: DecodeWay | undefined;
  /** How text encoders and the transformer of this run multiply with 8-bit integer weights; default: in float32. */
  readonly integerProducts?: IntegerProducts | undefined;
}

/** What a caller says of memory. */
export interface MemoryOptions {
  /** Bytes that the process may take. */
  readonly maxBytes?: number | undefined;
  readonly prefer?: HoldOptions["prefer"];
}

/**
 * A part that a run needs.
 *
 * Errors: UsageError when the pipeline was opened without it and none was assigned.
 */
export function modelOf(parts: PipelineParts, name: string): DiffusionModel {
  const model = parts.models.get(name);
  if (model != null) return model;
  throw new UsageError(`the pipeline has no ${name}`, {
    hint: `assign one before generating: pipeline.${camelCase(name)} = await DiffusionModel.fromPretrained(…)`,
  });
}

/** A part that a run can do without, or undefined where it is left out. */
export function optionalModelOf(parts: PipelineParts, name: string): DiffusionModel | undefined {
  return parts.models.get(name) ?? undefined;
}

/**
 * A tokenizer that a run needs.
 *
 * Errors: UsageError when its part was left out as the pipeline was opened, and assigned later.
 */
export function tokenizerOf(parts: PipelineParts, name: string): Tokenizer {
  const tokenizer = parts.tokenizers.get(name);
  if (tokenizer !== undefined) return tokenizer;
  throw new UsageError(`the pipeline has no ${name}`, {
    hint: "it was opened without the part that the tokenizer works for: bring that part while opening",
  });
}

/** The property of a pipeline and the option of opening one: text_encoder_2 -> textEncoder2. */
export function camelCase(name: string): string {
  return name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}
