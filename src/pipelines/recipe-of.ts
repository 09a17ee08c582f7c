/** The recipe of a request: everything that its pictures depend on. */
import type { QuantizationRequest } from "../image/recipe.ts";
import { version } from "../version.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import { fingerprint } from "./fingerprint.ts";
import type { OpenedModel } from "./open-pipeline.ts";
import type { PipelineParts } from "./parts.ts";
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
  const { scheduler, models, dtype } = parts;
  const present = pipelineClass.models.flatMap((slot) => {
    const model = models.get(slot);
    return model == null ? [] : [[slot, model] as const];
  });
  const defaults = pipelineClass.defaults(parts);
  const others = present.filter(([, model]) => model.dtype !== dtype);
  return {
    prompt: request.prompt,
    negativePrompt: request.negativePrompt,
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
    useResolutionBinning: request.useResolutionBinning,
    maxSequenceLength: request.maxSequenceLength === defaults.maxSequenceLength ? undefined : request.maxSequenceLength,
    ownLatents: request.latents === undefined ? undefined : true,
    partDTypes: others.length === 0 ? undefined : Object.fromEntries(others.map(([slot, model]) => [slot, model.dtype])),
    version,
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
