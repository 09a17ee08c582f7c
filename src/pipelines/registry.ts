/** The pipeline classes that halftone can run, by the names in model_index.json. A new pipeline is one file here and one line below. */
import { nearestWord, UnsupportedError, withArticle } from "../errors.ts";
import { auraFlow } from "./auraflow.ts";
import type { PipelineClass } from "./pipeline-class.ts";
import { pixArtAlpha, pixArtSigma } from "./pixart.ts";
import { stableDiffusion3 } from "./stable-diffusion-3.ts";

/** All classes by name. */
const PIPELINE_CLASSES: Readonly<Record<string, PipelineClass>> = {
  AuraFlowPipeline: auraFlow as PipelineClass,
  PixArtAlphaPipeline: pixArtAlpha as PipelineClass,
  PixArtSigmaPipeline: pixArtSigma as PipelineClass,
  StableDiffusion3Pipeline: stableDiffusion3 as PipelineClass,
};

/**
 * The class of a name.
 *
 * Errors: UnsupportedError that names the classes there are.
 */
export function findPipelineClass(className: string, where: string): PipelineClass {
  const found = Object.hasOwn(PIPELINE_CLASSES, className) ? PIPELINE_CLASSES[className] : undefined;
  if (found !== undefined) return found;
  const known = Object.keys(PIPELINE_CLASSES);
  const near = nearestWord(className, known);
  throw new UnsupportedError(`the model is ${withArticle(className)}, which halftone does not run`, {
    where,
    hint: near === undefined ? `the pipelines it runs are ${known.join(", ")}` : `the nearest pipeline it runs is ${near}`,
  });
}
