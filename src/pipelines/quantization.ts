/**
 * Quantizing in two steps, as with Quanto: quantize() marks layers and reads nothing; freeze() replaces their weights. A pipeline that is
 * asked for a picture freezes what is marked on the way.
 */
import { UsageError } from "../errors.ts";
import type { QuantizationRequest } from "../image/recipe.ts";
import { checkPatterns, type ModulePatterns, selectModules } from "../quant/module-patterns.ts";
import { type LayerPlan, planQuantization } from "../quant/plan-quantization.ts";
import { findQType, type QType } from "../quant/qtype.ts";
import { parseSpec, quantizedParts } from "../quant/spec.ts";
import { checkOptimizer, type OptimizerName } from "../quant/weight-layout.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { FreezeOptions } from "./freeze-node.ts";

/** What is wanted of a part's layers. */
export interface QuantizeOptions extends ModulePatterns {
  /** A qtype or its name: qint8, qfloat8 … */
  weights: QType | string;
  /** How scales are found: "absmax" for 8 bits, "max" or "hqq" for fewer. */
  optimizer?: OptimizerName | undefined;
}

/**
 * Marks the linear and convolutional layers of a part; a layer that was marked before takes the new qtype.
 *
 * Errors: UsageError for a part that is missing, frozen or never quantized, an unknown qtype or optimizer, a pattern that matches nothing.
 */
export function quantize(model: DiffusionModel | null, options: QuantizeOptions): void {
  if (model === null) throw new UsageError("there is no part to quantize: the pipeline was opened without it");
  const qtype = typeof options.weights === "string" ? findQType(options.weights) : options.weights;
  if (options.optimizer !== undefined) checkOptimizer(options.optimizer, qtype);
  const names = model.modules.map(({ name }) => name);
  checkPatterns(options, names, model.part);
  model.mark(new Map(selectModules(names, options).map((name) => [name, { qtype, optimizer: options.optimizer }])));
}

/**
 * Marks the layers of all parts that a spec names; patterns apply to every one of these parts.
 *
 * Errors: UsageError for a spec that is none, names a part that is not there, quantized already or never quantized, and for a pattern that
 * matches no layer of any of the parts.
 */
export function quantizeParts(models: ReadonlyMap<string, DiffusionModel | null>, request: QuantizationRequest): void {
  for (const [name, marks] of planParts(models, request)) models.get(name)?.mark(marks);
}

/** What quantizeParts marks, by part and layer. Errors: as quantizeParts, but for parts that are quantized already. */
export function planParts(
  models: ReadonlyMap<string, DiffusionModel | null>,
  request: QuantizationRequest,
): ReadonlyMap<string, ReadonlyMap<string, LayerPlan>> {
  const parts = Array.from(models).flatMap(([name, model]) =>
    model === null ? [] : [{ name, model, neverQuantized: model.neverQuantized }],
  );
  const spec = parseSpec(request.spec);
  const wanted = new Set(quantizedParts(spec, parts));
  const chosen = parts.filter(({ name }) => wanted.has(name));
  const modules = new Map(chosen.map(({ name, model }) => [name, model.modules.map((layer) => layer.name)]));
  return planQuantization(spec, modules, request);
}

/**
 * Quantizes the marked layers of a part, tensor by tensor; what was frozen before comes from the execution cache.
 *
 * Errors: UsageError when there is nothing to freeze; those of DiffusionModel.freeze.
 */
export async function freeze(model: DiffusionModel | null, options: FreezeOptions = {}): Promise<void> {
  if (model === null) throw new UsageError("there is no part to freeze: the pipeline was opened without it");
  if (model.marks.size === 0 && model.qtypes.size === 0) {
    throw new UsageError(`${model.part} has nothing to freeze`, { hint: "mark it first: quantize(model, { weights: qint8 })" });
  }
  await model.freeze(options);
}
