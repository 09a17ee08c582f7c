/** One setting of quantization, measured against the reference. */
import type { Pixels } from "../../image/pixels.ts";
import type { QuantizationRequest } from "../../image/recipe.ts";
import { fastParts, fastWarnings } from "../fast.ts";
import type { OpenedPipeline } from "../open-pipeline.ts";
import { quantizeParts } from "../quantization.ts";
import type { Request } from "../request.ts";
import { type CompareOptions, targetOf } from "./compare-options.ts";
import { type Maker, measurePictures } from "./pictures.ts";
import { type LayersByPart, type Probed, predictionError, useLayers } from "./prediction-error.ts";
import { propose } from "./propose.ts";
import type { Listener, Reference } from "./reference.ts";
import type { CompareEvent, Proposal, Variant } from "./report.ts";
import { byPart, measureSensitivity, quantizedLayers } from "./sensitivity.ts";

/** A setting's findings and pictures. */
export interface MeasuredVariant {
  readonly variant: Variant;
  readonly pictures: readonly Pixels[];
  /** Of the proposal, if there is one. */
  readonly proposed: readonly Pixels[] | undefined;
}

/** Quantizes a pipeline that was opened for it, and measures. */
export async function measureVariant(
  { pipelineClass, parts: opened }: OpenedPipeline,
  request: QuantizationRequest & Pick<Variant, "label" | "fast">,
  reference: Reference,
  options: CompareOptions,
  listener: Listener & { onWork(work: CompareEvent["work"], done: number, total: number): void },
): Promise<MeasuredVariant> {
  const { signal } = options;
  const { label, spec, fast, include = [], exclude = [] } = request;
  const parts = fast ? await fastParts(opened) : opened;
  quantizeParts(parts.models, request);
  const said = [...(pipelineClass.warnings?.(parts, reference.requests[0] as Request) ?? []), ...(fast ? fastWarnings(parts) : [])];
  for (const message of said) listener.onEvent({ type: "warning", message });
  await freezeParts(parts, listener, signal);
  const maker: Maker = { parts, requests: reference.requests, recipe: reference.recipe, ...listener };
  const made = await measurePictures(maker, pipelineClass, reference);
  const probed: Probed = { pipelineClass, parts, recordings: reference.recordings, signal };
  const all = byPart(quantizedLayers(probed));
  const measured = { ...made.measured, predictionError: await predictionError(probed, all) };
  const variant: Variant = { label, spec, fast, include, exclude, measured, sensitivity: null, proposal: null };
  const target = targetOf(options);
  if (fast || !(options.sensitivity ?? (target !== undefined || reference.measure === "prediction"))) {
    return { variant, pictures: made.pictures, proposed: undefined };
  }
  useLayers(parts, all);
  const sensitivity = await measureSensitivity(probed, reference.measure, (done, total) => listener.onWork("layers", done, total));
  if (target === undefined) return { variant: { ...variant, sensitivity }, pictures: made.pictures, proposed: undefined };
  let proposed: readonly Pixels[] | undefined;
  const proposal: Proposal = await propose(target, variant, sensitivity, {
    predictionError: (layers) => predictionError(probed, layers),
    async pictures(layers: LayersByPart) {
      useLayers(parts, layers);
      const tried = await measurePictures(maker, pipelineClass, reference);
      proposed = tried.pictures;
      return tried.measured;
    },
    onTry: (done, total) => listener.onWork("proposal", done, total),
  });
  return { variant: { ...variant, sensitivity, proposal }, pictures: made.pictures, proposed };
}

async function freezeParts({ models }: OpenedPipeline["parts"], { onEvent }: Listener, signal: AbortSignal | undefined): Promise<void> {
  for (const model of models.values()) {
    if (model === null || model.marks.size === 0) continue;
    const { part, weightBytes: storedBytes } = model;
    onEvent({ type: "freeze", part, storedBytes, frozenBytes: undefined });
    await model.freeze({ signal });
    onEvent({ type: "freeze", part, storedBytes, frozenBytes: model.weightBytes });
  }
}
