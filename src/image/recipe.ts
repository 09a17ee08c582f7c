/**
 * The recipe of a picture: what has to be said to make it again. It travels inside the PNG, as JSON.
 *
 * A picture may come from anywhere, so a recipe is checked field by field when it is read; fields that a later version adds are ignored.
 */
import * as v from "valibot";
import { FileError } from "../errors.ts";
import { COMPUTE_DTYPES, type ComputeDType } from "../tensor/dtype.ts";

/** How the parts of a pipeline are quantized. */
export interface QuantizationRequest {
  /** "qint8", or "transformer=qint8,text_encoder=qfloat8". */
  readonly spec: string;
  /** Patterns of full module names: only these are quantized. */
  readonly include?: readonly string[] | undefined;
  /** Patterns of modules that are left out. */
  readonly exclude?: readonly string[] | undefined;
}

/** Guidance away from what the transformer predicts without some of its blocks. */
export interface SkipLayerGuidance {
  /** Blocks that are skipped. */
  readonly layers: readonly number[];
  readonly scale: number;
  /** It works at steps whose index lies strictly between these shares of all steps. */
  readonly start: number;
  readonly stop: number;
}

/** Everything that a picture depends on. */
export interface Recipe {
  readonly prompt: string;
  readonly negativePrompt: string;
  /** Texts of the second and third text encoder, where they are not the first's. */
  readonly prompt2?: string | undefined;
  readonly prompt3?: string | undefined;
  readonly negativePrompt2?: string | undefined;
  readonly negativePrompt3?: string | undefined;
  readonly clipSkip?: number | undefined;
  readonly skipLayerGuidance?: SkipLayerGuidance | undefined;
  /** Decimal text, since a seed may exceed what a JSON number holds. */
  readonly seed: string;
  readonly steps: number;
  readonly guidanceScale: number;
  readonly height: number;
  readonly width: number;
  /** Pictures of the request, and which of them this is (0 is the first). */
  readonly images: number;
  readonly imageIndex: number;
  /** Model as it was asked for: a Hub id or the name of a folder (never its path); "demo" is the embedded one. */
  readonly model: string;
  /** Commit of a Hub id. */
  readonly revision?: string | undefined;
  /** Variant of the weights that was asked for ("fp16"). */
  readonly variant?: string | undefined;
  /** SHA-256 over the configs and samples of every tensor: tells two checkpoints apart, as far as samples can. */
  readonly modelHash: string;
  readonly pipeline: string;
  readonly scheduler: string;
  readonly dtype: ComputeDType;
  /** qtype by part, for quantized parts. */
  readonly qtypes: Readonly<Record<string, string>>;
  /** What pipeline.quantize() was told, so that it can be told again. */
  readonly quantization?: QuantizationRequest | undefined;
  /** Whether qint8 weights were multiplied in integers. */
  readonly fast?: boolean | undefined;
  /** Optional parts that the pipeline did without. */
  readonly absentParts?: readonly string[] | undefined;
  readonly useResolutionBinning: boolean;
  /** Tokens of the prompt that the model saw, where it is not the pipeline's default. */
  readonly maxSequenceLength?: number | undefined;
  /** Whether the picture began as latents of the caller's, which no recipe holds. */
  readonly ownLatents?: boolean | undefined;
  /** dtypes of parts that were brought in another than the pipeline's. */
  readonly partDTypes?: Readonly<Record<string, string>> | undefined;
  /** Version of halftone. */
  readonly version: string;
}

/** Keyword of the text chunk that holds a recipe. */
export const RECIPE_KEYWORD = "halftone";

const text = v.pipe(v.string(), v.maxLength(1_000_000));
/** The bounds are those of a request: a picture from a stranger must not ask for more than a user can. */
const whole = (min: number, max: number) =>
  v.pipe(
    v.number(),
    v.check((value) => Number.isInteger(value) && value >= min && value <= max, wholeText(min, max)),
  );
const wholeText = (min: number, max: number) => `a whole number from ${min} to ${max}`;
const MAX_STEPS = 10_000;
const MAX_SIDE = 65_536;
const MAX_IMAGES = 10_000;
const MAX_LAYERS = 1000;

const finite = v.pipe(v.number(), v.finite());
const layer = whole(0, MAX_LAYERS);

const RecipeSchema = v.object({
  prompt: text,
  negativePrompt: text,
  prompt2: v.optional(text),
  prompt3: v.optional(text),
  negativePrompt2: v.optional(text),
  negativePrompt3: v.optional(text),
  clipSkip: v.optional(layer),
  skipLayerGuidance: v.optional(v.object({ layers: v.array(layer), scale: finite, start: finite, stop: finite })),
  seed: v.pipe(v.string(), v.regex(/^-?\d{1,20}$/)),
  steps: whole(1, MAX_STEPS),
  guidanceScale: finite,
  height: whole(1, MAX_SIDE),
  width: whole(1, MAX_SIDE),
  images: whole(1, MAX_IMAGES),
  imageIndex: whole(0, MAX_IMAGES - 1),
  model: text,
  revision: v.optional(text),
  variant: v.optional(text),
  modelHash: text,
  pipeline: text,
  scheduler: text,
  dtype: v.picklist(COMPUTE_DTYPES),
  qtypes: v.record(text, text),
  quantization: v.optional(v.object({ spec: text, include: v.optional(v.array(text)), exclude: v.optional(v.array(text)) })),
  fast: v.optional(v.boolean()),
  absentParts: v.optional(v.array(v.picklist(["text_encoder", "text_encoder_2", "text_encoder_3"]))),
  useResolutionBinning: v.boolean(),
  maxSequenceLength: v.optional(whole(1, MAX_STEPS)),
  ownLatents: v.optional(v.boolean()),
  partDTypes: v.optional(v.record(text, text)),
  version: text,
});

/** Writes a recipe as JSON in plain ASCII. */
export function recipeText(recipe: Recipe): string {
  return JSON.stringify(recipe).replace(/[^\x20-\x7e]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/**
 * Reads a recipe from JSON.
 *
 * Errors: FileError naming the field that is missing or wrong.
 */
export function parseRecipe(json: string, where?: string): Recipe {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new FileError("the recipe in the picture is not valid JSON", { where, cause });
  }
  const result = v.safeParse(RecipeSchema, value);
  if (!result.success) {
    const [issue] = result.issues;
    throw wrongField(v.getDotPath(issue), issue.expected ?? issue.message, issue.received.slice(0, 100), where);
  }
  const { imageIndex, images } = result.output;
  if (imageIndex >= images) throw wrongField("imageIndex", wholeText(0, images - 1), String(imageIndex), where);
  return result.output;
}

function wrongField(field: string | null, expected: string, got: string, where: string | undefined): FileError {
  const name = field === null ? "form" : `"${field}"`;
  return new FileError(`the recipe in the picture has a wrong ${name}: expected ${expected}, got ${got}`, { where });
}
