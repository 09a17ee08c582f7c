/**
 * From a spec, patterns and an optimizer to what is wanted of every layer. Patterns of `include` and `exclude` count for every quantized
 * part, so one that matches in a single part is no mistake.
 */
import { UsageError } from "../errors.ts";
import { checkPatterns, selectModules } from "./module-patterns.ts";
import type { QType } from "./qtype.ts";
import { type QuantizationSpec, qtypesByModule } from "./spec.ts";
import { checkOptimizer, type OptimizerName } from "./weight-layout.ts";

/** Which layers, and how. */
export interface QuantizationPatterns {
  /** Patterns of full module names: only these. */
  readonly include?: readonly string[] | undefined;
  /** Patterns of those that are left out; wins over include. */
  readonly exclude?: readonly string[] | undefined;
  /** For the layers whose qtype it fits; the others keep their default. */
  readonly optimizer?: OptimizerName | undefined;
}

/** What is wanted of a layer. */
export interface LayerPlan {
  readonly qtype: QType;
  readonly optimizer: OptimizerName | undefined;
}

/**
 * Plans every part that a spec quantizes; `modules` are the layers of these parts, by part.
 *
 * Errors: UsageError for a pattern that matches nothing, an optimizer that fits no layer, or when nothing is left to quantize.
 */
export function planQuantization(
  spec: QuantizationSpec,
  modules: ReadonlyMap<string, readonly string[]>,
  { include, exclude, optimizer }: QuantizationPatterns = {},
): Map<string, Map<string, LayerPlan>> {
  // No flag and an empty list are the same.
  const patterns = { include: include?.length === 0 ? undefined : include, exclude };
  checkPatterns(patterns, [...modules.values()].flat(), [...modules.keys()].join(" or "));
  const plan = new Map<string, Map<string, LayerPlan>>();
  for (const [part, names] of modules) {
    const kept = new Set(selectModules(names, patterns));
    const wanted = [...qtypesByModule(spec, part, names)].filter(([name]) => kept.has(name));
    plan.set(part, new Map(wanted.map(([name, qtype]) => [name, { qtype, optimizer: fitting(optimizer, qtype) }])));
  }
  const layers = [...plan.values()].flatMap((layers) => [...layers.values()]);
  const [first] = layers;
  if (first === undefined) throw new UsageError("nothing is left to quantize", { hint: "look at the patterns of include and exclude" });
  if (optimizer !== undefined && layers.every((layer) => layer.optimizer === undefined)) checkOptimizer(optimizer, first.qtype);
  return plan;
}

function fitting(optimizer: OptimizerName | undefined, qtype: QType): OptimizerName | undefined {
  return (optimizer === "absmax") === (qtype.bits === 8) ? optimizer : undefined;
}
