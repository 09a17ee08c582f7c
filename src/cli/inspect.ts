/** halftone inspect: what a model consists of, or what a picture was made with. */
import { stat } from "node:fs/promises";
import {
  CancelledError,
  HalftoneError,
  type LoadOptions,
  type ModelPlan,
  type ModelReport,
  type PartReport,
  type Recipe,
  UsageError,
} from "../index.ts";
import { recipeOf } from "./picture-file.ts";
import { planReport } from "./plan-report.ts";
import type { Surroundings } from "./surroundings.ts";
import { table } from "./table.ts";
import { bytesText, countText } from "./units.ts";

/** Flags of `halftone inspect`. */
export interface InspectFlags {
  readonly variant?: string;
  readonly revision?: string;
  readonly offline?: boolean;
  readonly json?: boolean;
  readonly qtype?: string;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly height?: number;
  readonly width?: number;
  readonly images?: number;
  readonly maxMemory?: number;
}

/** Runs the command; errors as the library's. */
export async function inspect(target: string, flags: InspectFlags, { library, terminal, signal }: Surroundings): Promise<void> {
  if (await isPicture(target)) {
    const recipe = await recipeOf(target);
    terminal.stdout.write(flags.json === true ? `${JSON.stringify(recipe, undefined, 2)}\n` : recipeReport(recipe));
    return;
  }
  const options: LoadOptions = { variant: flags.variant, revision: flags.revision, localFilesOnly: flags.offline, signal };
  const report = await library.inspectModel(target, options);
  const { plan, reason } = await planOf(target, report, flags, options, library);
  if (flags.json === true) {
    terminal.stdout.write(`${JSON.stringify({ ...report, plan }, undefined, 2)}\n`);
    return;
  }
  terminal.stdout.write(modelReport(report));
  if (plan !== undefined) terminal.stdout.write(`\n${planReport(plan)}`);
  if (reason !== undefined) terminal.stdout.write(`\nno pictures can be planned: ${reason}\n`);
}

/** The plan of a pipeline that halftone runs; where there can be none the reason, which is an error if a plan was asked for. */
async function planOf(
  target: string,
  report: ModelReport,
  { qtype, include, exclude, height, width, images, maxMemory }: InspectFlags,
  options: LoadOptions,
  library: Surroundings["library"],
): Promise<{ plan?: ModelPlan; reason?: string }> {
  if (qtype === undefined && (include ?? exclude) !== undefined)
    throw new UsageError(`${include ? "--include" : "--exclude"} says which layers are quantized, but nothing is`, {
      hint: "add --qtype, such as --qtype qint8",
    });
  const isAsked = [qtype, height, width, images, maxMemory].some((flag) => flag !== undefined);
  const isPipeline = report.parts.every(({ name, isSupported }) => name !== "" && isSupported !== false);
  if (!isPipeline && !isAsked) return {};
  const quantization = qtype === undefined ? undefined : { spec: qtype, include, exclude };
  try {
    const sizes = { height, width, numImagesPerPrompt: images };
    return { plan: await library.planModel(target, { ...options, ...sizes, quantization, maxMemory }) };
  } catch (error) {
    if (isAsked || !(error instanceof HalftoneError) || error instanceof CancelledError) throw error;
    return { reason: error.message };
  }
}

/** A model is a folder or an id; a file is a picture, and so is what is called one. */
async function isPicture(target: string): Promise<boolean> {
  const found = await stat(target).catch(() => undefined);
  return found === undefined ? target.toLowerCase().endsWith(".png") : found.isFile();
}

/** A recipe, one field a line. */
function recipeReport(recipe: Recipe): string {
  const qtypes = Object.entries(recipe.qtypes).map(([part, qtype]) => `${part}=${qtype}`);
  const rows: (readonly [string, string])[] = [
    ["prompt", recipe.prompt],
    ["negative prompt", recipe.negativePrompt],
    ["seed", recipe.seed],
    ["steps", String(recipe.steps)],
    ["guidance scale", String(recipe.guidanceScale)],
    ["size", `${recipe.width}x${recipe.height}${recipe.useResolutionBinning ? " (binned)" : ""}`],
    ["picture", `${recipe.imageIndex + 1} of ${recipe.images}`],
    ["model", recipe.model],
    ["revision", recipe.revision ?? ""],
    ["variant", recipe.variant ?? ""],
    ["model hash", recipe.modelHash],
    ["pipeline", recipe.pipeline],
    ["scheduler", recipe.scheduler],
    ["dtype", recipe.dtype],
    ["quantized", qtypes.join(", ")],
    ["products", recipe.fast === true ? "8-bit (fast)" : ""],
    ["halftone", recipe.version],
  ];
  return table(rows.filter(([name, value]) => value !== "" || name.endsWith("prompt")));
}

/** A model's parts in aligned columns. */
function modelReport(report: ModelReport): string {
  const head = table([
    ["model", report.model],
    ["class", report.className],
    ...(report.revision === undefined ? [] : [["revision", report.revision]]),
  ]);
  const rows = [["part", "class", "parameters", "bytes", "stored as"], ...report.parts.map(partRow)];
  const total = ["total", "", countText(report.parameters), bytesText(report.sizeBytes), ""];
  return `${head}\n${table(report.parts.length === 1 ? rows : [...rows, total], [2, 3])}`;
}

function partRow(part: PartReport): string[] {
  const name = part.name === "" ? "-" : part.name;
  if (part.isSupported === undefined) return [name, part.className, "", "", ""];
  const dtypes = Object.entries(part.storedDTypes);
  const stored = dtypes.length === 1 ? dtypes.map(([dtype]) => dtype) : dtypes.map(([dtype, count]) => `${dtype} (${countText(count)})`);
  const note = part.isSupported ? "" : "  (not supported)";
  return [name, part.className, countText(part.parameters), bytesText(part.sizeBytes), stored.join(", ") + note];
}
