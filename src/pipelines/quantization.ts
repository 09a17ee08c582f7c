/**
 * Quantizing in two steps, as with Quanto: quantize() marks layers and reads nothing; freeze() replaces their weights. A pipeline that is
 * asked for a picture freezes what is marked on the way.
 */
import { nearestWord, UsageError } from "../errors.ts";
import type { QuantizationRequest } from "../image/recipe.ts";
import { matchesPattern } from "../quant/fnmatch.ts";
import { findQType, type QType } from "../quant/qtype.ts";
import { parseSpec, qtypesByModule, quantizedParts } from "../quant/spec.ts";
import { checkOptimizer, type OptimizerName } from "../quant/weight-layout.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { FreezeOptions } from "./freeze-node.ts";

/** What is wanted of a part's layers. */
export interface QuantizeOptions {
  /** A qtype or its name: qint8, qfloat8 … */
  weights: QType | string;
  /** Patterns (Python's fnmatch) of full module names: only these are marked. */
  include?: string | readonly string[] | undefined;
  /** Patterns of modules that are left out; wins over include. */
  exclude?: string | readonly string[] | undefined;
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
  const include = patternList(options.include);
  const exclude = patternList(options.exclude);
  for (const pattern of [...include, ...exclude]) checkMatches(pattern, names, model.part);
  model.mark(new Map(choose(names, include, exclude).map((name) => [name, { qtype, optimizer: options.optimizer }])));
}

/**
 * Marks the layers of all parts that a spec names; patterns apply to every one of these parts.
 *
 * Errors: UsageError for a spec that is none, names a part that is not there, quantized already or never quantized, and for a pattern that
 * matches no layer of any of the parts.
 */
export function quantizeParts(models: Iterable<DiffusionModel | null>, request: QuantizationRequest): void {
  const parts = Array.from(models).filter((model) => model !== null);
  const spec = parseSpec(request.spec);
  const wanted = new Set(
    quantizedParts(
      spec,
      parts.map(({ part, neverQuantized }) => ({ name: part, neverQuantized })),
    ),
  );
  const chosen = parts.filter(({ part }) => wanted.has(part));
  const { include = [], exclude = [] } = request;
  const names = chosen.flatMap(({ modules }) => modules.map(({ name }) => name));
  for (const pattern of [...include, ...exclude]) checkMatches(pattern, names, chosen.map(({ part }) => part).join(" or "));
  for (const model of chosen) {
    const own = model.modules.map(({ name }) => name);
    const qtypes = qtypesByModule(spec, model.part, own);
    const kept = choose([...qtypes.keys()], include, exclude);
    model.mark(new Map(kept.map((name) => [name, { qtype: qtypes.get(name) as QType, optimizer: undefined }])));
  }
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

/** Names that match an include pattern, if there are any, and no exclude pattern. */
function choose(names: readonly string[], include: readonly string[], exclude: readonly string[]): string[] {
  const matches = (name: string, patterns: readonly string[]) => patterns.some((pattern) => matchesPattern(name, pattern));
  return names.filter((name) => (include.length === 0 || matches(name, include)) && !matches(name, exclude));
}

function patternList(patterns: string | readonly string[] | undefined): readonly string[] {
  if (patterns === undefined) return [];
  return typeof patterns === "string" ? [patterns] : patterns;
}

function checkMatches(pattern: string, names: readonly string[], part: string): void {
  if (names.some((name) => matchesPattern(name, pattern))) return;
  const leaves = [...new Set(names.map((name) => name.split(".").at(-1) as string))];
  const near = nearestWord(pattern, names) ?? (leaves.includes(pattern) ? `*.${pattern}` : nearestWord(pattern, leaves));
  throw new UsageError(`pattern ${JSON.stringify(pattern)} matches no layer of ${part}`, {
    hint: near === undefined ? "patterns are matched against full names, such as transformer_blocks.0.attn1.to_q" : `did you mean ${near}?`,
  });
}
