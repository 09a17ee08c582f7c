/** The recipe of a request: everything that its pictures depend on. */
import type { QuantizationRequest, Recipe } from "../image/recipe.ts";
import { version } from "../version.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import { fingerprint } from "./fingerprint.ts";
import type { OpenedModel } from "./open-pipeline.ts";
import { optionalModelOf, type PipelineParts } from "./parts.ts";
import type { PipelineClass } from "./pipeline-class.ts";
import type { Request } from "./request.ts";
import type { RecipeBase } from "./run.ts";

/** What a recipe is made of beside the request. */
export interface AboutPipeline {
  readonly pipelineClass: PipelineClass;
  readonly parts: PipelineParts;
  readonly located: OpenedModel;
  readonly quantization: QuantizationRequest | undefined;
}

/** The recipe but for the number of the picture. */
export async function recipeOf(about: AboutPipeline, request: Request): Promise<RecipeBase> {
  const { pipelineClass, parts, located, quantization } = about;
  const { scheduler, dtype } = parts;
  const slots = Object.keys(pipelineClass.models);
  const present = slots.flatMap((slot) => {
    const model = optionalModelOf(parts, slot);
    return model === undefined ? [] : [[slot, model] as const];
  });
  const absent = slots.filter((slot) => optionalModelOf(parts, slot) === undefined);
  const defaults = pipelineClass.defaults(parts);
  const others = present.filter(([, model]) => model.dtype !== dtype);
  return {
    prompt: request.prompt,
    negativePrompt: request.negativePrompt,
    ...classOptionsOf(request),
    seed: String(request.seed),
    steps: request.numInferenceSteps,
    guidanceScale: request.guidanceScale,
    height: request.height,
    width: request.width,
    images: request.numImagesPerPrompt,
    model: located.label,
    revision: located.revision,
    variant: located.variant,
    modelHash: await fingerprint(present, [scheduler.className, scheduler.config]),
    pipeline: pipelineClass.className,
    scheduler: scheduler.className,
    dtype,
    qtypes: Object.fromEntries(present.flatMap(([slot, model]) => (model.qtypes.size === 0 ? [] : [[slot, qtypeSummary(model)]]))),
    quantization,
    fast: request.fast ? true : undefined,
    absentParts: absent.length === 0 ? undefined : absent,
    useResolutionBinning: request.useResolutionBinning,
    maxSequenceLength: request.maxSequenceLength === defaults.maxSequenceLength ? undefined : request.maxSequenceLength,
    ownLatents: request.latents === undefined ? undefined : true,
    partDTypes: others.length === 0 ? undefined : Object.fromEntries(others.map(([slot, model]) => [slot, model.dtype])),
    version,
  };
}

/** Options that only some classes have, where they change the picture. */
function classOptionsOf(request: Request): Partial<Recipe> {
  const { prompt, negativePrompt, clipSkip, skipLayerGuidance } = request;
  const other = (text: string, usual: string) => (text === usual ? undefined : text);
  return {
    prompt2: other(request.prompt2, prompt),
    prompt3: other(request.prompt3, prompt),
    negativePrompt2: other(request.negativePrompt2, negativePrompt),
    negativePrompt3: other(request.negativePrompt3, negativePrompt),
    clipSkip: clipSkip === 0 ? undefined : clipSkip,
    skipLayerGuidance,
  };
}

/** The qtypes of a part, the most frequent first: "qint8" or "qint8, qint4". */
function qtypeSummary(model: DiffusionModel): string {
  const counts = new Map<string, number>();
  for (const qtype of model.qtypes.values()) counts.set(qtype, (counts.get(qtype) ?? 0) + 1);
  return Array.from(counts, ([qtype, count]) => ({ qtype, count }))
    .sort((a, b) => b.count - a.count)
    .map(({ qtype }) => qtype)
    .join(", ");
}
