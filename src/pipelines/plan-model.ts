/**
 * What a request to a model would take, from configs and headers alone: nothing is loaded, quantized or downloaded but them.
 */
import { lookIntoModel } from "../hub/locate-node.ts";
import type { QuantizationRequest } from "../image/recipe.ts";
import { collectGarbage } from "../runtime/memory-node.ts";
import { asIfFrozen } from "./diffusion-model.ts";
import { fastParts } from "./fast.ts";
import { type MemoryPlan, planMemory, unfitError } from "./memory-plan.ts";
import { openLocated, type PipelineOptions, refuseUnknown } from "./open-pipeline.ts";
import type { GenerateOptions } from "./options.ts";
import { quantizeParts } from "./quantization.ts";
import { checkRequest, type Request } from "./request.ts";
import { memoryLimits } from "./run.ts";

/** What is to be planned. */
export interface PlanOptions extends PipelineOptions, Pick<GenerateOptions, PlannedOption> {
  /** Default: any, as long as the model reads them. */
  readonly prompt?: string | undefined;
  /** What is to be quantized; a model that is stored quantized needs none. */
  readonly quantization?: QuantizationRequest | undefined;
}

/** What of a request decides its memory. */
type PlannedOption =
  | ("height" | "width" | "numImagesPerPrompt" | "guidanceScale" | "negativePrompt" | "useResolutionBinning" | "maxSequenceLength")
  | "fast";

/** The plan of a request. */
export interface ModelPlan extends MemoryPlan {
  readonly model: string;
  readonly className: string;
  readonly height: number;
  readonly width: number;
  readonly images: number;
  /** What the process may take in all. */
  readonly maxBytes: number;
  /** Where the plan does not fit: the error that the request would end with, and what would fit. */
  readonly problem: string | undefined;
  readonly hint: string | undefined;
}

/**
 * Plans a request to a pipeline's folder or Hub id.
 *
 * Errors: as opening the pipeline and asking it for the picture, but none when no plan fits: `fits` says so.
 */
export async function planModel(idOrFolder: string, options: PlanOptions = {}): Promise<ModelPlan> {
  const { prompt, quantization, height, width, numImagesPerPrompt, guidanceScale, negativePrompt, ...others } = options;
  const { useResolutionBinning, maxSequenceLength, fast, ...load } = others;
  refuseUnknown(load);
  const found = await lookIntoModel(idOrFolder, load);
  const { pipelineClass, parts: opened, located, own } = await openLocated(found, load);
  try {
    if (quantization !== undefined) quantizeParts(opened.models, quantization);
    pipelineClass.checkParts(opened);
    const sizes = { height, width, numImagesPerPrompt, guidanceScale, useResolutionBinning, maxSequenceLength };
    const asked = checkRequest(prompt ?? "", { ...sizes, negativePrompt, fast }, pipelineClass, opened);
    const request = prompt === undefined ? withLongestTexts(asked) : asked;
    const parts = request.fast ? await fastParts(opened) : opened;
    return asIfFrozen(own, () => {
      const limits = memoryLimits(parts);
      const plan = planMemory(pipelineClass, parts, request, pipelineClass.workSize(parts, request), limits);
      const unfit = plan.fits ? undefined : unfitError(plan, { pipeline: pipelineClass, parts, request, limits });
      const about = { model: located.label, className: pipelineClass.className, height: request.height, width: request.width };
      const verdict = { problem: unfit?.message, hint: unfit?.hint };
      return { ...about, images: request.numImagesPerPrompt, maxBytes: limits.maxBytes, ...plan, ...verdict };
    });
  } finally {
    for (const model of own) await model.dispose();
    collectGarbage();
  }
}

/** Texts as long as the model reads them. */
function withLongestTexts(request: Request): Request {
  const { maxSequenceLength, textLengths } = request;
  return { ...request, textTokens: maxSequenceLength, textLengths: textLengths.map(() => maxSequenceLength) };
}
