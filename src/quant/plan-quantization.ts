/**
 * From a spec, patterns and an optimizer to what is wanted of every layer. Patterns of `include` and `exclude` count for every quantized
 * part, so one that matches in a single part is no mistake.
 */
import { quote } from "../checkpoint/stored-tensor.ts";
import { nearestWord, UsageError } from "../errors.ts";
import { matchesPattern } from "./fnmatch.ts";
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
  { include = [], exclude = [], optimizer }: QuantizationPatterns = {},
): Map<string, Map<string, LayerPlan>> {
  for (const pattern of [...include, ...exclude]) checkMatches(pattern, modules);
  const matches = (name: string, patterns: readonly string[]) => patterns.some((pattern) => matchesPattern(name, pattern));
  const plan = new Map<string, Map<string, LayerPlan>>();
  for (const [part, names] of modules) {
    const wanted = [...qtypesByModule(spec, part, names)].filter(
      ([name]) => (include.length === 0 || matches(name, include)) && !matches(name, exclude),
    );
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

function checkMatches(pattern: string, modules: ReadonlyMap<string, readonly string[]>): void {
  const names = [...modules.values()].flat();
  if (names.some((name) => matchesPattern(name, pattern))) return;
  const leaves = [...new Set(names.map((name) => name.slice(name.lastIndexOf(".") + 1)))];
  const near = nearestWord(pattern, names) ?? (leaves.includes(pattern) ? `*.${pattern}` : nearestWord(pattern, leaves));
  throw new UsageError(`pattern ${quote(pattern)} matches no layer of ${[...modules.keys()].join(" or ")}`, {
    hint: near === undefined ? `patterns are matched against full names, such as ${quote(names[0] ?? "")}` : `did you mean ${quote(near)}?`,
  });
}
