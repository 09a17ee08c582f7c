/**
 * From the words of `halftone generate` to what the library is asked for. With --from, a picture's recipe fills in what no flag says.
 */
import { stat } from "node:fs/promises";
import {
  type ComputeDType,
  type GenerateOptions,
  type LoadOptions,
  type QuantizationRequest,
  type Recipe,
  UsageError,
  version,
} from "../index.ts";
import { seedNumber } from "./option-values.ts";
import { recipeOf } from "./picture-file.ts";

/** Flags of `halftone generate`; undefined where not given. */
export interface GenerateFlags {
  readonly model?: string;
  readonly negativePrompt?: string;
  readonly seed?: number | bigint;
  readonly steps?: number;
  readonly guidanceScale?: number;
  readonly height?: number;
  readonly width?: number;
  readonly images?: number;
  readonly dtype?: ComputeDType;
  readonly fuseQkv?: boolean;
  readonly qtype?: string;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly variant?: string;
  readonly revision?: string;
  readonly threads?: number;
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
  readonly load: LoadOptions;
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
  return {
    prompt: text,
    model: flags.model ?? (await modelOf(recipe, demoModelFolder, flags.from)),
    load: {
      dtype: flags.dtype ?? recipe?.dtype,
      variant: flags.variant ?? source?.variant,
      revision: flags.revision ?? source?.revision,
      threads: flags.threads,
      localFilesOnly: flags.offline,
    },
    generate: {
      negativePrompt: flags.negativePrompt ?? recipe?.negativePrompt,
      seed: flags.seed ?? (recipe === undefined ? undefined : seedNumber(`the seed in "${flags.from}"`)(recipe.seed)),
      numInferenceSteps: flags.steps ?? recipe?.steps,
      guidanceScale: flags.guidanceScale ?? recipe?.guidanceScale,
      height: flags.height ?? recipe?.height,
      width: flags.width ?? recipe?.width,
      numImagesPerPrompt: flags.images ?? recipe?.images,
      useResolutionBinning: flags.binning ?? recipe?.useResolutionBinning,
    },
    quantization: quantizationOf(flags, recipe),
    images: flags.images ?? recipe?.images ?? 1,
    recipe,
    warnings: recipe === undefined ? [] : warningsBefore(recipe),
  };
}

/** What --qtype, --include and --exclude say, or else the recipe. */
function quantizationOf(flags: GenerateFlags, recipe: Recipe | undefined): QuantizationRequest | undefined {
  const spec = flags.qtype ?? recipe?.quantization?.spec;
  const include = flags.include ?? recipe?.quantization?.include;
  const exclude = flags.exclude ?? recipe?.quantization?.exclude;
  if (spec !== undefined) return { spec, include, exclude };
  const flag = flags.include ? "--include" : "--exclude";
  if (flags.include || flags.exclude)
    throw new UsageError(`${flag} says which layers are quantized, but nothing is`, { hint: "add --qtype, such as --qtype qint8" });
  return undefined;
}

/** What can be said about a recipe once a picture has been made from it. */
export function warningsAfter(wanted: Recipe, made: Recipe): string[] {
  if (wanted.modelHash === made.modelHash) return [];
  const names =
    wanted.model === made.model ? `model ${wanted.model} has changed since` : `model ${made.model} is not ${wanted.model} of the recipe`;
  return [`${names}: the picture may differ from the recipe's`];
}

function warningsBefore(recipe: Recipe): string[] {
  const quantized = Object.entries(recipe.qtypes).map(([part, qtype]) => `${part} in ${qtype}`);
  return [
    ...(recipe.version === version ? [] : [`the recipe is of halftone ${recipe.version}, this is ${version}: the picture may differ`]),
    ...(quantized.length === 0
      ? []
      : [`the recipe was made with ${quantized.join(", ")}, this run is not quantized: the picture will differ`]),
  ];
}

async function modelOf(recipe: Recipe | undefined, demoModelFolder: string, from: string | undefined): Promise<string> {
  if (recipe === undefined || recipe.model === "demo") return demoModelFolder;
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
