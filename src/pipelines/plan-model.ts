/**
 * What a request to a model would take, from configs and headers alone: nothing is loaded, quantized or downloaded but them.
 */
import { lookIntoModel } from "../hub/locate-node.ts";
import type { QuantizationRequest } from "../image/recipe.ts";
import { collectGarbage } from "../runtime/memory-node.ts";
import { type MemoryPlan, planMemory, whatFits } from "./memory-plan.ts";
import { openLocated } from "./open-pipeline.ts";
import type { GenerateOptions, LoadOptions } from "./options.ts";
import { quantizeParts } from "./quantization.ts";
import { checkRequest } from "./request.ts";
import { memoryLimits } from "./run.ts";

/** What is to be planned. */
export interface PlanOptions extends LoadOptions, Pick<GenerateOptions, "height" | "width" | "numImagesPerPrompt" | "guidanceScale"> {
  /** What is to be quantized; a model that is stored quantized needs none. */
  readonly quantization?: QuantizationRequest | undefined;
  /** As of a pipeline. */
  readonly maxMemory?: number | string | undefined;
}

/** The plan of a request. */
export interface ModelPlan extends MemoryPlan {
  readonly model: string;
  readonly className: string;
  readonly height: number;
  readonly width: number;
  readonly images: number;
  /** What the process may take in all. */
  readonly maxBytes: number;
  /** What would fit where the plan does not. */
  readonly hint: string | undefined;
}

/**
 * Plans a request to a pipeline's folder or Hub id.
 *
 * Errors: as opening the pipeline and asking it for the picture, but none when no plan fits: `fits` says so.
 */
export async function planModel(idOrFolder: string, options: PlanOptions = {}): Promise<ModelPlan> {
  const { quantization, height, width, numImagesPerPrompt, guidanceScale, ...load } = options;
  const found = await lookIntoModel(idOrFolder, load);
  const { pipelineClass, parts, located, own } = await openLocated(found, load);
  try {
    if (quantization !== undefined) quantizeParts(parts.models, quantization);
    for (const model of own) model.assumeFrozen();
    pipelineClass.checkParts(parts);
    const asked = checkRequest("", { height, width, numImagesPerPrompt, guidanceScale }, pipelineClass, parts);
    // For a prompt of any length.
    const request = { ...asked, textTokens: asked.maxSequenceLength };
    const size = pipelineClass.workSize(parts, request);
    const limits = memoryLimits(parts);
    const plan = planMemory(pipelineClass, parts, request, size, limits);
    const hint = plan.fits ? undefined : whatFits(plan, { pipeline: pipelineClass, parts, request, limits });
    const about = { model: located.label, className: pipelineClass.className, height: request.height, width: request.width };
    return { ...about, images: request.numImagesPerPrompt, maxBytes: limits.maxBytes, ...plan, hint };
  } finally {
    for (const model of own) await model.dispose();
    collectGarbage();
  }
}
