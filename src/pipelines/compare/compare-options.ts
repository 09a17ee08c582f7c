/** What a comparison is asked for. */
import { nearestWord, UsageError } from "../../errors.ts";
import type { PipelineEvent } from "../events.ts";
import type { PipelineOptions } from "../open-pipeline.ts";
import type { GenerateOptions, LoadOptions } from "../options.ts";
import type { CompareEvent, QualityTarget } from "./report.ts";

/** How a comparison is made. */
export interface CompareOptions extends Omit<LoadOptions, "onEvent">, Pick<PipelineOptions, "maxMemory"> {
  /** One picture for each. */
  prompts: readonly string[];
  /** Settings, as --qtype takes them: "qint8", "transformer=qint4,text_encoder=qint8". */
  qtypes: readonly string[];
  /** Also makes every setting's pictures in fast runs. Default false. */
  fast?: boolean | undefined;
  /** Patterns of layers, for every setting. */
  include?: readonly string[] | undefined;
  exclude?: readonly string[] | undefined;
  /** Of the first prompt; each further one takes the next number. Default 0. */
  seed?: number | bigint | undefined;
  numInferenceSteps?: number | undefined;
  guidanceScale?: number | undefined;
  height?: number | undefined;
  width?: number | undefined;
  /** Whether each layer is quantized alone. Default: with a target, and where the model is small enough to be run as a whole. */
  sensitivity?: boolean | undefined;
  /** Asks for layers to keep in float until this is reached: one of the two. */
  targetPsnr?: number | undefined;
  targetError?: number | undefined;
  /** Folder to write grid.png, latents.svg, comparison.json and comparison.md into; default: nothing is written. */
  output?: string | undefined;
  /** Replaces the folder of an earlier comparison. */
  force?: boolean | undefined;
  onEvent?: ((event: PipelineEvent | CompareEvent) => void) | undefined;
}

/** More columns make a grid that nobody can look at. */
const MOST_PROMPTS = 64;

const KNOWN_OPTIONS: readonly (keyof CompareOptions)[] = [
  ...([
    "prompts",
    "qtypes",
    "include",
    "exclude",
    "fast",
    "sensitivity",
    "targetPsnr",
    "targetError",
    "output",
    "force",
    "onEvent",
  ] as const),
  ...(["seed", "numInferenceSteps", "guidanceScale", "height", "width"] as const),
  ...(["dtype", "threads", "revision", "variant", "subfolder", "token", "cacheDir", "localFilesOnly", "maxMemory", "signal"] as const),
];

/** Refuses what can be refused before a model is opened. Errors: UsageError. */
export function checkCompareOptions(options: CompareOptions): void {
  const { prompts, qtypes, targetPsnr, targetError, sensitivity } = options;
  for (const name of Object.keys(options)) {
    if (KNOWN_OPTIONS.some((known) => known === name)) continue;
    const near = nearestWord(name, KNOWN_OPTIONS);
    const hint = near === undefined ? `the options are ${KNOWN_OPTIONS.join(", ")}` : `did you mean ${near}?`;
    throw new UsageError(`there is no option ${JSON.stringify(name)} for a comparison`, { hint });
  }
  if (!Array.isArray(prompts) || prompts.length === 0) throw new UsageError("a comparison needs at least one prompt, got none");
  if (prompts.length > MOST_PROMPTS) throw new UsageError(`a comparison takes at most ${MOST_PROMPTS} prompts, got ${prompts.length}`);
  if (!Array.isArray(qtypes) || qtypes.length === 0)
    throw new UsageError("a comparison needs at least one qtype, got none", { hint: "for example qint8" });
  const again = qtypes.find((spec, i) => qtypes.indexOf(spec) < i);
  if (again !== undefined) throw new UsageError(`qtype ${JSON.stringify(again)} was given twice`);
  for (const [name, value] of Object.entries({ targetPsnr, targetError })) {
    if (value !== undefined && !(Number.isFinite(value) && value > 0))
      throw new UsageError(`${name} must be a number above 0, got ${value}`);
  }
  if (targetPsnr !== undefined && targetError !== undefined) {
    throw new UsageError("one target is possible at a time, got two", { hint: "give the PSNR or the error" });
  }
  if (sensitivity === false && (targetPsnr ?? targetError) !== undefined) {
    throw new UsageError("a target needs the sensitivity of the layers, which is turned off", { hint: "leave one of the two out" });
  }
}

/** The target that was asked for, if one was. */
export function targetOf({ targetPsnr, targetError }: CompareOptions): QualityTarget | undefined {
  if (targetPsnr !== undefined) return { psnr: targetPsnr };
  return targetError === undefined ? undefined : { error: targetError };
}

/** How each pipeline is opened. */
export function loadOptionsOf({
  dtype,
  threads,
  revision,
  variant,
  subfolder,
  token,
  cacheDir,
  localFilesOnly,
  maxMemory,
  signal,
}: CompareOptions): PipelineOptions {
  return { dtype, threads, revision, variant, subfolder, token, cacheDir, localFilesOnly, maxMemory, signal };
}

/** What is asked of the model for a prompt. */
export function generateOptionsOf(options: CompareOptions, prompt: number): GenerateOptions {
  const { numInferenceSteps, guidanceScale, height, width, signal } = options;
  return { seed: seedOf(options.seed ?? 0, prompt), numInferenceSteps, guidanceScale, height, width, signal };
}

/** The seed of a prompt; after the largest comes 0. */
function seedOf(seed: number | bigint, prompt: number): number | bigint {
  // The generator says what is wrong with it.
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) return seed;
  const own = BigInt(seed) + BigInt(prompt);
  const wrapped = own > 2n ** 64n - 1n ? BigInt.asUintN(64, own) : own;
  const near = Number(wrapped);
  return Number.isSafeInteger(near) ? near : wrapped;
}
