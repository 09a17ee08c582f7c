/**
 * From the words of `halftone generate` to what the library is asked for. With --from, a picture's recipe fills in what no flag says.
 *
 * Recipes call the embedded model "demo", and so they call every folder of that name. The embedded one is known by its hash; with another
 * hash, a model's folder "demo" in the current folder is meant. Where there is none (the embedded model of another version, or a folder
 * that is elsewhere) the embedded model is used, and that is said before the work.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import {
  type ComputeDType,
  type GenerateOptions,
  type PipelineOptions,
  type QuantizationRequest,
  type Recipe,
  UsageError,
  version,
} from "../index.ts";
import { seedNumber } from "./option-values.ts";
import { recipeOf } from "./picture-file.ts";

/** The modelHash of pictures that the embedded model made; a test compares it with one that is made anew. */
export const EMBEDDED_MODEL_HASH = "9cd58b6b35daf335223665824ba5ae748bd74438a74de158c3839297b15404aa";

const NOT_EMBEDDED =
  'the recipe\'s model "demo" is not the embedded one, which is used: the picture may differ; give a folder of yours with --model';

/** Flags of `halftone generate`; undefined where not given. */
export interface GenerateFlags {
  readonly model?: string;
  readonly prompt2?: string;
  readonly prompt3?: string;
  readonly negativePrompt?: string;
  readonly negativePrompt2?: string;
  readonly negativePrompt3?: string;
  readonly clipSkip?: number;
  readonly seed?: number | bigint;
  readonly steps?: number;
  readonly guidanceScale?: number;
  readonly height?: number;
  readonly width?: number;
  readonly images?: number;
  readonly dtype?: ComputeDType;
  readonly fuseQkv?: boolean;
  readonly fast?: boolean;
  readonly qtype?: string;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly variant?: string;
  readonly revision?: string;
  readonly threads?: number;
  readonly maxMemory?: number;
  readonly output?: string;
  readonly saveLatents?: string;
  readonly from?: string;
  readonly binning?: boolean;
  readonly offline?: boolean;
  readonly metadata: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** What the library is asked for. */
export interface Request {
  readonly prompt: string;
  readonly model: string;
  readonly load: PipelineOptions;
  readonly generate: GenerateOptions;
  /** How the model is quantized before it is used. */
  readonly quantization: QuantizationRequest | undefined;
  readonly images: number;
  /** The recipe that is repeated. */
  readonly recipe: Recipe | undefined;
  readonly warnings: readonly string[];
}

/**
 * Puts a request together; flags win over the recipe, the recipe over defaults.
 *
 * Errors: UsageError when there is no prompt, or the recipe's model is not here; FileError for the picture of --from.
 */
export async function planRequest(prompt: string | undefined, flags: GenerateFlags, demoModelFolder: string): Promise<Request> {
  const recipe = flags.from === undefined ? undefined : await recipeOf(flags.from);
  const text = prompt ?? recipe?.prompt;
  if (text === undefined) {
    throw new UsageError("generate needs a prompt, got none", { hint: 'write it in quotes: halftone generate "a red apple"' });
  }
  // A revision and a variant belong to the recipe's model, not to another.
  const source = flags.model === undefined ? recipe : undefined;
  const model = flags.model ?? (await modelOf(recipe, demoModelFolder, flags.from));
  return {
    prompt: text,
    model,
    load: {
      dtype: flags.dtype ?? recipe?.dtype,
      variant: flags.variant ?? source?.variant,
      revision: flags.revision ?? source?.revision,
      threads: flags.threads,
      ...(flags.maxMemory === undefined ? {} : { maxMemory: flags.maxMemory }),
      localFilesOnly: flags.offline,
      ...withoutParts(source),
    },
    generate: {
      negativePrompt: flags.negativePrompt ?? recipe?.negativePrompt,
      prompt2: flags.prompt2 ?? recipe?.prompt2,
      prompt3: flags.prompt3 ?? recipe?.prompt3,
      negativePrompt2: flags.negativePrompt2 ?? recipe?.negativePrompt2,
      negativePrompt3: flags.negativePrompt3 ?? recipe?.negativePrompt3,
      clipSkip: flags.clipSkip ?? recipe?.clipSkip,
      skipGuidanceLayers: recipe?.skipLayerGuidance?.layers,
      skipLayerGuidanceScale: recipe?.skipLayerGuidance?.scale,
      skipLayerGuidanceStart: recipe?.skipLayerGuidance?.start,
      skipLayerGuidanceStop: recipe?.skipLayerGuidance?.stop,
      seed: flags.seed ?? (recipe === undefined ? undefined : seedNumber(`the seed in "${flags.from}"`)(recipe.seed)),
      numInferenceSteps: flags.steps ?? recipe?.steps,
      guidanceScale: flags.guidanceScale ?? recipe?.guidanceScale,
      height: flags.height ?? recipe?.height,
      width: flags.width ?? recipe?.width,
      numImagesPerPrompt: flags.images ?? recipe?.images,
      useResolutionBinning: flags.binning ?? recipe?.useResolutionBinning,
      maxSequenceLength: recipe?.maxSequenceLength,
      fast: flags.fast ?? recipe?.fast,
    },
    quantization: quantizationOf(flags, recipe),
    images: flags.images ?? recipe?.images ?? 1,
    recipe,
    warnings: recipe === undefined ? [] : warningsBefore(recipe, flags.model === undefined && model === demoModelFolder),
  };
}

/** Leaves out what the recipe's pipeline did without. */
function withoutParts(recipe: Recipe | undefined): PipelineOptions {
  const absent = new Set(recipe?.absentParts);
  return {
    ...(absent.has("text_encoder") ? { textEncoder: null } : {}),
    ...(absent.has("text_encoder_2") ? { textEncoder2: null } : {}),
    ...(absent.has("text_encoder_3") ? { textEncoder3: null } : {}),
  };
}

/** What --qtype, --include and --exclude say, or else the recipe. */
function quantizationOf(flags: GenerateFlags, recipe: Recipe | undefined): QuantizationRequest | undefined {
  const spec = flags.qtype ?? recipe?.quantization?.spec;
  const include = flags.include ?? recipe?.quantization?.include;
  const exclude = flags.exclude ?? recipe?.quantization?.exclude;
  if (spec !== undefined) return { spec, include, exclude };
  if ((flags.fast ?? recipe?.fast) === true) return undefined;
  const flag = flags.include ? "--include" : "--exclude";
  if (flags.include || flags.exclude)
    throw new UsageError(`${flag} says which layers are quantized, but nothing is`, { hint: "add --qtype, such as --qtype qint8" });
  return undefined;
}

/** What can be said about a request's recipe only once a picture has been made from it. */
export function warningsAfter({ recipe: wanted, warnings }: Request, made: Recipe): string[] {
  if (wanted === undefined) return [];
  const found: string[] = [];
  if (wanted.modelHash !== made.modelHash && !warnings.includes(NOT_EMBEDDED)) {
    const names =
      wanted.model === made.model ? `model ${wanted.model} has changed since` : `model ${made.model} is not ${wanted.model} of the recipe`;
    found.push(`${names}: the picture may differ from the recipe's`);
  }
  if (quantizedText(wanted) !== quantizedText(made)) {
    found.push(`the recipe was made ${quantizedText(wanted)}, this run ${quantizedText(made)}: the picture will differ`);
  }
  return found;
}

function warningsBefore(recipe: Recipe, isEmbedded: boolean): string[] {
  return [
    ...(recipe.version === version ? [] : [`the recipe is of halftone ${recipe.version}, this is ${version}: the picture may differ`]),
    ...(recipe.ownLatents === true ? ["the recipe's picture began as latents that it does not hold: this one will be another"] : []),
    ...(recipe.partDTypes === undefined ? [] : ["parts of the recipe's pipeline had dtypes of their own: the picture may differ"]),
    ...(isEmbedded && recipe.modelHash !== EMBEDDED_MODEL_HASH ? [NOT_EMBEDDED] : []),
  ];
}

/** A model may be stored quantized, so only its pictures tell. */
function quantizedText({ qtypes }: Recipe): string {
  const parts = Object.entries(qtypes).map(([part, qtype]) => `${part} in ${qtype}`);
  return parts.length === 0 ? "without quantization" : `with ${parts.sort().join(", ")}`;
}

async function modelOf(recipe: Recipe | undefined, demoModelFolder: string, from: string | undefined): Promise<string> {
  if (recipe === undefined) return demoModelFolder;
  if (recipe.model === "demo") {
    const isOwnFolder = recipe.modelHash !== EMBEDDED_MODEL_HASH && (await isModelFolder(recipe.model));
    return isOwnFolder ? recipe.model : demoModelFolder;
  }
  const isHere = await stat(recipe.model).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (isHere || recipe.model.includes("/")) return recipe.model;
  throw new UsageError(`the recipe names the model folder "${recipe.model}", which is not here`, {
    where: from,
    hint: "say where it is with --model",
  });
}

async function isModelFolder(path: string): Promise<boolean> {
  return stat(join(path, "model_index.json")).then(
    (found) => found.isFile(),
    () => false,
  );
}
