/**
 * Options of a request that some pipeline classes have and others lack. A class declares those it has (PipelineClass.options); a request that
 * uses one of the others is refused by name.
 */
import { UsageError, withArticle } from "../errors.ts";
import type { SkipLayerGuidance } from "../image/recipe.ts";
import type { GenerateOptions } from "./options.ts";

/** All of them, in the order in which they are listed to a user. */
export const CLASS_OPTIONS = [
  "useResolutionBinning",
  "prompt2",
  "prompt3",
  "negativePrompt2",
  "negativePrompt3",
  "clipSkip",
  "skipGuidanceLayers",
  "skipLayerGuidanceScale",
  "skipLayerGuidanceStart",
  "skipLayerGuidanceStop",
] as const satisfies readonly (keyof GenerateOptions)[];

/** An option that a class may have. */
export type ClassOption = (typeof CLASS_OPTIONS)[number];

/** The values of a request's class options. */
export interface ClassOptionValues {
  /** Prompts of the second and third text encoder: as given or, where that is missing or empty, the first. */
  readonly prompt2: string;
  readonly prompt3: string;
  readonly negativePrompt2: string;
  readonly negativePrompt3: string;
  /** Layers of a CLIP encoder that are left out beyond the last one. */
  readonly clipSkip: number;
  readonly skipLayerGuidance: SkipLayerGuidance | undefined;
  readonly useResolutionBinning: boolean;
}

/** Layer counts beyond it are typing errors; how many a model has, its class checks. */
const MOST_LAYERS = 1000;

/**
 * Checks the class options of a request; `has` are those of its pipeline's class.
 *
 * Errors: UsageError for an option that the class lacks, or whose value is wrong.
 */
export function readClassOptions(
  prompt: string,
  options: GenerateOptions,
  { className, options: has }: { readonly className: string; readonly options: readonly ClassOption[] },
): ClassOptionValues {
  for (const name of CLASS_OPTIONS) {
    if (isUsed(options[name]) && !has.includes(name))
      throw new UsageError(`option ${name} was given, but ${withArticle(className)} has no use for it`);
  }
  const text = (name: "negativePrompt" | `${"prompt" | "negativePrompt"}${2 | 3}`) => textOption(name, options[name]);
  // Python's `or`: an empty text is none.
  const negativePrompt = text("negativePrompt");
  return {
    prompt2: text("prompt2") || prompt,
    prompt3: text("prompt3") || prompt,
    negativePrompt2: text("negativePrompt2") || negativePrompt,
    negativePrompt3: text("negativePrompt3") || negativePrompt,
    clipSkip: layerOption("clipSkip", options.clipSkip ?? 0),
    skipLayerGuidance: readSkipLayerGuidance(options),
    useResolutionBinning: booleanOption("useResolutionBinning", options.useResolutionBinning ?? false),
  };
}

/** A recipe says `useResolutionBinning: false` of every class. */
function isUsed(value: unknown): boolean {
  return value !== undefined && value !== false;
}

/** Defaults as in diffusers' Stable Diffusion 3, the only class that has it. */
function readSkipLayerGuidance(options: GenerateOptions): SkipLayerGuidance | undefined {
  const { skipGuidanceLayers: layers, skipLayerGuidanceScale, skipLayerGuidanceStart, skipLayerGuidanceStop } = options;
  if (layers === undefined) {
    const without = (["skipLayerGuidanceScale", "skipLayerGuidanceStart", "skipLayerGuidanceStop"] as const).find(
      (name) => options[name] !== undefined,
    );
    if (without === undefined) return undefined;
    throw new UsageError(`option ${without} was given, but no skipGuidanceLayers`, { hint: "name the blocks that are skipped: [7, 8, 9]" });
  }
  if (!Array.isArray(layers)) throw new UsageError(`skipGuidanceLayers must be a list of block numbers, got ${String(layers)}`);
  return {
    layers: layers.map((layer) => layerOption("skipGuidanceLayers", layer)),
    scale: numberOption("skipLayerGuidanceScale", skipLayerGuidanceScale ?? 2.8),
    start: numberOption("skipLayerGuidanceStart", skipLayerGuidanceStart ?? 0.01),
    stop: numberOption("skipLayerGuidanceStop", skipLayerGuidanceStop ?? 0.2),
  };
}

function layerOption(name: string, value: unknown): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MOST_LAYERS) return value;
  throw new UsageError(`${name} must be a whole number from 0 to ${MOST_LAYERS}, got ${String(value)}`);
}

/** Errors: UsageError for anything but a finite number. */
export function numberOption(name: string, value: number): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new UsageError(`${name} must be a finite number, got ${String(value)}`);
}

/** Errors: UsageError for anything but true and false. */
export function booleanOption(name: string, value: boolean): boolean {
  if (typeof value === "boolean") return value;
  throw new UsageError(`${name} must be true or false, got ${String(value)}`);
}

/** A text; none is "". Errors: UsageError for anything else. */
export function textOption(name: string, value: string | undefined): string {
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  throw new UsageError(`${name} must be a string, got ${String(value)}`);
}
