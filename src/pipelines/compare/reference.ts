/** The float side of a comparison: made once, remembered by pictures, latents and a few calls of the transformer. */
import { UsageError } from "../../errors.ts";
import type { Graph } from "../../graph/graph.ts";
import { SSIM_WINDOW } from "../../image/similarity.ts";
import type { PipelineEvent } from "../events.ts";
import type { OpenedPipeline } from "../open-pipeline.ts";
import { planParts } from "../quantization.ts";
import { recipeOf } from "../recipe-of.ts";
import { checkRequest, type Request } from "../request.ts";
import type { RecipeBase } from "../run.ts";
import { type CompareOptions, generateOptionsOf } from "./compare-options.ts";
import { makeReference, type ReferencePictures, weightBytesOf } from "./pictures.ts";
import { type Recording, recordingClass } from "./recording.ts";
import type { CompareReport, Sensitivity } from "./report.ts";

/** What settings are measured against. */
export interface Reference extends ReferencePictures {
  readonly requests: readonly Request[];
  readonly recipe: RecipeBase;
  readonly report: CompareReport["reference"];
  /** How layers are measured: in whole predictions, or block by block where the model runs so. */
  readonly measure: Sensitivity["measure"];
  /** The calls that are made again: of whole predictions several, of blocks one. */
  readonly recordings: readonly Recording[];
}

/** Prompts whose calls are recorded. */
const RECORDED_PROMPTS = 2;
/** Steps that are recorded, as shares of all. */
const RECORDED_STEPS = [1 / 4, 3 / 4];

/** Whom the work tells of its progress. */
export interface Listener {
  onEvent(event: PipelineEvent): void;
  onPicture(done: number, total: number): void;
}

/**
 * Checks every setting against the pipeline and makes the reference.
 *
 * Errors: UsageError for a request or setting that does not fit and for a checkpoint that is quantized already; those of a run.
 */
export async function measureReference(
  { pipelineClass, parts, located }: OpenedPipeline,
  options: CompareOptions,
  listener: Listener,
): Promise<Reference> {
  pipelineClass.checkParts(parts);
  const requests = options.prompts.map((prompt, i) => checkRequest(prompt, generateOptionsOf(options, i), pipelineClass, parts));
  const [first] = requests as [Request];
  if (Math.min(first.height, first.width) < SSIM_WINDOW) {
    throw new UsageError(`height and width must be at least ${SSIM_WINDOW} pixels to be compared, got ${first.width} x ${first.height}`);
  }
  const quantized = checkSettings(parts, options);
  const recipe = await recipeOf({ pipelineClass, parts, located, quantization: undefined }, first);
  const recordings = requests.map((request): Recording => ({ request, calls: [] }));
  const wanted = new Set(RECORDED_STEPS.map((share) => Math.floor(share * first.numInferenceSteps)));
  // Whether a part runs as one program or block by block shows while the first picture is made.
  const programs = new Map<string, Set<Graph>>();
  const maker = { parts, requests, recipe, ...listener };
  const made = await makeReference(maker, (prompt) => {
    if (prompt >= RECORDED_PROMPTS) return pipelineClass;
    return recordingClass(pipelineClass, recordings[prompt] as Recording, wanted, prompt === 0 ? programs : new Map());
  });
  const isWhole = Array.from(quantized).every((part) => (programs.get(part)?.size ?? 0) <= 1);
  return {
    ...made,
    requests,
    recipe,
    report: { ...weightBytesOf(parts), secondsPerStep: made.secondsPerStep },
    measure: isWhole ? "prediction" : "block",
    recordings: isWhole ? recordings.slice(0, RECORDED_PROMPTS) : [withMiddleCall(recordings[0] as Recording)],
  };
}

/** Names of the parts that any setting quantizes. */
function checkSettings({ models }: OpenedPipeline["parts"], { qtypes, include, exclude }: CompareOptions): Set<string> {
  const found = new Set<string>();
  for (const spec of qtypes) {
    for (const [part, layers] of planParts(models, { spec, include, exclude })) if (layers.size > 0) found.add(part);
  }
  for (const part of found) {
    const model = models.get(part);
    if (model === undefined || model === null || model.qtypes.size === 0) continue;
    throw new UsageError(`${part} is quantized already, so there is no float reference to compare with`, {
      where: model.configPath,
      hint: "compare the float checkpoint that it was made from",
    });
  }
  return found;
}

function withMiddleCall(recording: Recording): Recording {
  const { calls } = recording;
  const middle = Math.floor(calls.length / 2);
  return { ...recording, calls: calls.slice(middle, middle + 1) };
}
