/**
 * One checked request for pictures: every option has its value, and everything that can be refused has been, before any weight is read.
 */
import { nearestWord, UsageError } from "../errors.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import { booleanOption, CLASS_OPTIONS, type ClassOptionValues, numberOption, readClassOptions, textOption } from "./class-options.ts";
import type { GenerateOptions } from "./options.ts";
import type { PipelineParts } from "./parts.ts";
import type { PipelineClass } from "./pipeline-class.ts";

/** A request with all its values. */
export interface Request extends ClassOptionValues {
  readonly prompt: string;
  readonly negativePrompt: string;
  readonly seed: number | bigint;
  readonly numInferenceSteps: number;
  readonly guidanceScale: number;
  /** Guidance doubles the work; a scale of 1 or less turns it off. */
  readonly guided: boolean;
  /** Size of the pictures asked for, in pixels. */
  readonly height: number;
  readonly width: number;
  readonly numImagesPerPrompt: number;
  readonly maxSequenceLength: number;
  /** Tokens of padded texts that are calculated with: less than maxSequenceLength where the class knows that padding does not count. */
  readonly textTokens: number;
  /** Tokens of each text, where the class knows that padding does not count; else none. */
  readonly textLengths: readonly number[];
  readonly latents: FloatTensor | undefined;
  /** Whether qint8 weights are multiplied in integers. */
  readonly fast: boolean;
  readonly signal: AbortSignal | undefined;
}

/** What a pipeline class contributes to a request. */
export interface RequestDefaults {
  readonly numInferenceSteps: number;
  readonly guidanceScale: number;
  readonly maxSequenceLength: number;
  /** The most tokens that a request may ask for. Default: maxSequenceLength. */
  readonly longestSequence?: number;
  /** Pixels a side at which the model was trained. */
  readonly size: number;
  /** Height and width must be multiples of this. */
  readonly sizeMultiple: number;
  /** The most steps that the scheduler can take. */
  readonly maxSteps: number;
}

const COMMON_OPTIONS: readonly (keyof GenerateOptions)[] = [
  "negativePrompt",
  "seed",
  "numInferenceSteps",
  "guidanceScale",
  "height",
  "width",
  "numImagesPerPrompt",
  "maxSequenceLength",
  "latents",
  "fast",
  "signal",
];

/** What other tools take and halftone does not: refused by name rather than ignored. */
const UNSUPPORTED_OPTIONS: Readonly<Record<string, string>> = {
  lora: "LoRA weights are not supported",
  loras: "LoRA weights are not supported",
  controlNet: "ControlNet is not supported",
  controlnet: "ControlNet is not supported",
  image: "pictures as input are not supported",
  ipAdapterImage: "IP-Adapter is not supported",
  promptEmbeds: "ready-made prompt embeddings are not supported",
  negativePromptEmbeds: "ready-made prompt embeddings are not supported",
  timesteps: "own timesteps are not supported",
  sigmas: "own sigmas are not supported",
  cleanCaption: "caption cleaning is not supported: PixArt's prompts are lower-cased and trimmed, as diffusers does without bs4 and ftfy",
  callbackOnStepEnd: "callbacks are not supported: iterate over pipeline.stream(), whose step events carry the latents",
};

/** No picture of a model of today is larger; beyond it, a typing error is likelier than a wish. */
const MAX_SIDE = 65_536;
const MAX_IMAGES = 10_000;

/**
 * Checks a request to a pipeline of this class and these parts.
 *
 * Errors: UsageError for the first option that does not fit, naming it.
 */
export function checkRequest(prompt: unknown, options: GenerateOptions, pipelineClass: PipelineClass, parts: PipelineParts): Request {
  if (typeof prompt !== "string") {
    throw new UsageError(`the prompt must be a string, got ${Array.isArray(prompt) ? "a list" : String(prompt)}`, {
      hint: Array.isArray(prompt) ? "call generate() once for each prompt" : undefined,
    });
  }
  if (typeof options !== "object" || options === null) throw new UsageError(`the options must be an object, got ${String(options)}`);
  refuseUnknown(options, pipelineClass);
  const defaults = pipelineClass.defaults(parts);
  const ofClass = readClassOptions(prompt, options, pipelineClass);
  // A binned picture is made at a trained size and resized, so any size will do.
  const multiple = ofClass.useResolutionBinning ? 1 : defaults.sizeMultiple;
  const height = sizeOption("height", options.height ?? defaults.size, multiple);
  const width = sizeOption("width", options.width ?? defaults.size, multiple);
  const guidanceScale = numberOption("guidanceScale", options.guidanceScale ?? defaults.guidanceScale);
  const maxSequenceLength = integerOption(
    "maxSequenceLength",
    options.maxSequenceLength ?? defaults.maxSequenceLength,
    defaults.longestSequence ?? defaults.maxSequenceLength,
  );
  const request = {
    ...ofClass,
    prompt,
    negativePrompt: textOption("negativePrompt", options.negativePrompt),
    seed: options.seed ?? randomSeed(),
    numInferenceSteps: stepsOption(options.numInferenceSteps ?? defaults.numInferenceSteps, defaults.maxSteps),
    guidanceScale,
    guided: guidanceScale > 1,
    height,
    width,
    numImagesPerPrompt: integerOption("numImagesPerPrompt", options.numImagesPerPrompt ?? 1, MAX_IMAGES),
    maxSequenceLength,
    textTokens: maxSequenceLength,
    textLengths: [],
    latents: options.latents,
    fast: booleanOption("fast", options.fast ?? false),
    signal: options.signal,
  };
  pipelineClass.checkRequest?.(parts, request);
  const textLengths = pipelineClass.textLengths?.(parts, request);
  return textLengths === undefined ? request : { ...request, textLengths, textTokens: Math.max(...textLengths) };
}

/** Options of other classes pass here: readClassOptions says whose they are not. */
function refuseUnknown(options: GenerateOptions, pipelineClass: PipelineClass): void {
  for (const name of Object.keys(options)) {
    if ([...COMMON_OPTIONS, ...CLASS_OPTIONS].some((known) => known === name)) continue;
    const reason = UNSUPPORTED_OPTIONS[name];
    if (reason !== undefined) throw new UsageError(`option ${name} was given, but ${reason}`);
    const known = [...COMMON_OPTIONS, ...pipelineClass.options];
    const near = nearestWord(name, known);
    throw new UsageError(`there is no option ${JSON.stringify(name)}`, {
      hint: near === undefined ? `the options are ${known.join(", ")}` : `did you mean ${near}?`,
    });
  }
}

function sizeOption(name: string, value: number, multiple: number): number {
  if (!Number.isInteger(value) || value < 1 || value > MAX_SIDE) {
    throw new UsageError(`${name} must be a whole number of pixels from ${multiple} to ${MAX_SIDE}, got ${String(value)}`);
  }
  if (value % multiple === 0) return value;
  const nearest = Math.max(multiple, Math.round(value / multiple) * multiple);
  throw new UsageError(`${name} must be a multiple of ${multiple}, got ${value}`, { hint: `the nearest that works is ${nearest}` });
}

function stepsOption(value: number, maxSteps: number): number {
  if (!Number.isInteger(value) || value < 1)
    throw new UsageError(`numInferenceSteps must be a whole number of at least 1, got ${String(value)}`);
  if (value > maxSteps)
    throw new UsageError(`numInferenceSteps must be at most ${maxSteps}, the timesteps that the scheduler was trained with, got ${value}`);
  return value;
}

function integerOption(name: string, value: number, max: number): number {
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new UsageError(`${name} must be a whole number from 1 to ${max}, got ${String(value)}`);
}

function randomSeed(): number {
  const [seed = 0] = crypto.getRandomValues(new Uint32Array(1));
  return seed;
}
