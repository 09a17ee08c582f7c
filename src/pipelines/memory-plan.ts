/**
 * The plan of a request's memory: how each part is held, whether guidance takes one call or two, how the picture is decoded; made from
 * headers alone, before anything is loaded.
 *
 * What counts is anonymous memory. Weights are mapped from their files, whose pages the system drops when it needs them, so they take none;
 * a share of the budget is left to those pages.
 */
import { UsageError } from "../errors.ts";
import type { ModelGraph } from "../graph/segment.ts";
import { valueBytes } from "../runtime/graph-memory.ts";
import { type HoldOptions, type PlannedHold, planHold } from "../runtime/hold-plan.ts";
import { decoderGraph, decoderOf } from "./decode.ts";
import { DECODE_WAYS, type DecodeWay, decodeCost } from "./decode-ways.ts";
import type { Phase } from "./events.ts";
import { modelOf, type PipelineParts } from "./parts.ts";
import type { GuidanceWay, PipelineClass, WorkSize } from "./pipeline-class.ts";
import type { Request } from "./request.ts";

/** A part's work in a phase. */
export interface PartPlan extends PlannedHold {
  readonly part: string;
  /** Bytes of its weights as they are read, which lie in files, by qtype or dtype. */
  readonly weightBytes: Readonly<Record<string, number>>;
}

/** A phase of the plan. */
export interface PhasePlan {
  readonly phase: Phase;
  readonly parts: readonly PartPlan[];
  /** The highest anonymous memory of the process. */
  readonly peakBytes: number;
  /** How pictures are decoded, in the last phase. */
  readonly decodeWay?: DecodeWay;
  /** Of it, the process before the run, and what earlier phases leave. */
  readonly processBytes: number;
}

/** How a request is to be run. */
export interface MemoryPlan {
  /** Anonymous memory that the process may reach. */
  readonly budgetBytes: number;
  readonly guidance: GuidanceWay;
  readonly phases: readonly PhasePlan[];
  readonly peakBytes: number;
  readonly fits: boolean;
}

/** What a plan starts from. */
export interface PlanLimits {
  /** What the process may take in all, mapped files included; Infinity for any amount. */
  readonly maxBytes: number;
  /** Anonymous memory that it has already. */
  readonly processBytes: number;
  readonly prefer?: HoldOptions["prefer"];
}

/**
 * Share of the budget that is left to pages of files: weights on their way into a product, and programs. With 100 MB of 1 GB left, the pages of
 * Node and the engine themselves are dropped and read again, and a run comes to a halt.
 */
const FILE_SHARE = 0.15;
const LEAST_FILE_BYTES = 200e6;
/**
 * What encoding leaves behind: pages that the system's allocator keeps, JavaScript's heap as it has grown. After programs that came and went it is
 * more, of which a later model uses again what it asks for in small pieces.
 */
const RESIDUE_BYTES = 25e6;
const STREAMED_RESIDUE_BYTES = 75e6;

/** The fastest way that fits; where none does, the one that takes least, which says so. */
export function planMemory(
  pipeline: PipelineClass,
  parts: PipelineParts,
  request: Request,
  size: WorkSize,
  limits: PlanLimits,
): MemoryPlan {
  const { maxBytes } = limits;
  const budgetBytes = maxBytes === Number.POSITIVE_INFINITY ? maxBytes : maxBytes - Math.max(LEAST_FILE_BYTES, FILE_SHARE * maxBytes);
  const ways: GuidanceWay[] = request.guided && pipeline.canSplitGuidance === true ? ["batched", "sequential"] : ["batched"];
  let plan: MemoryPlan | undefined;
  for (const guidance of ways) {
    const phases = planPhases(pipeline, parts, request, size, { ...limits, budgetBytes, guidance });
    const peakBytes = Math.max(...phases.map((phase) => phase.peakBytes));
    plan = { budgetBytes, guidance, phases, peakBytes, fits: peakBytes <= budgetBytes };
    // Guidance changes nothing but the denoising.
    if (phases.every((phase) => phase.phase !== "denoise" || phase.peakBytes <= budgetBytes)) break;
  }
  return plan as MemoryPlan;
}

/** What a program of a phase may take, and how it is to be held. */
export function phaseMemory(plan: MemoryPlan, phase: Phase, prefer: HoldOptions["prefer"]): HoldOptions {
  const found = plan.phases.find((candidate) => candidate.phase === phase);
  return { budgetBytes: plan.budgetBytes - (found?.processBytes ?? 0), prefer, isRepeated: isRepeated(phase) };
}

/** Only the transformer is called at every step. */
function isRepeated(phase: Phase): boolean {
  return phase === "denoise";
}

function planPhases(
  pipeline: PipelineClass,
  parts: PipelineParts,
  request: Request,
  size: WorkSize,
  { processBytes, budgetBytes, guidance, prefer }: PlanLimits & { budgetBytes: number; guidance: GuidanceWay },
): PhasePlan[] {
  const work = pipeline.workload?.(parts, request, size, guidance) ?? { encode: [], denoise: [] };
  const phase = (name: Phase, held: number, models: readonly (readonly [string, ModelGraph])[]): PhasePlan => {
    const options = { budgetBytes: budgetBytes - held, prefer, isRepeated: isRepeated(name) };
    const plans = models.map(([part, model]) => ({ part, weightBytes: weightBytesOf(parts, part), ...planHold(model, options) }));
    return { phase: name, parts: plans, processBytes: held, peakBytes: held + Math.max(0, ...plans.map(({ peakBytes }) => peakBytes)) };
  };
  const conditioning = Math.max(0, ...work.denoise.map(([, model]) => inputBytes(model)));
  const encode = phase("encode", processBytes, work.encode);
  const residue = encode.parts.some(({ hold }) => hold === "streamed") ? STREAMED_RESIDUE_BYTES : RESIDUE_BYTES;
  return [
    encode,
    phase("denoise", processBytes + RESIDUE_BYTES, work.denoise),
    planDecoding(parts, size, { held: processBytes + conditioning, residue, budgetBytes, prefer }),
  ];
}

/**
 * Whole where that fits or was asked for, else in strips, which use again what was left behind; the way that takes least where none fits.
 */
function planDecoding(
  parts: PipelineParts,
  size: WorkSize,
  asked: { held: number; residue: number; budgetBytes: number; prefer: HoldOptions["prefer"] },
): PhasePlan {
  const { budgetBytes, prefer } = asked;
  const decoder = decoderOf(parts);
  const weightBytes = weightBytesOf(parts, "vae");
  let best: PhasePlan | undefined;
  for (const way of parts.decodeWay === undefined ? DECODE_WAYS : [parts.decodeWay]) {
    const held = asked.held + (way.kind === "whole" ? asked.residue : 0);
    const hold: PlannedHold =
      way.kind === "whole"
        ? planHold(decoderGraph(parts, size), { budgetBytes: budgetBytes - held, prefer })
        : { hold: "streamed", segmentsPerProgram: 1, peakBytes: decodeCost(decoder, way, size.height, size.width).anonymousBytes };
    const peakBytes = held + hold.peakBytes;
    const plan: PhasePlan = {
      phase: "decode",
      parts: [{ part: "vae", weightBytes, ...hold }],
      decodeWay: way,
      processBytes: held,
      peakBytes,
    };
    if (best === undefined || peakBytes < best.peakBytes) best = plan;
    if (peakBytes <= budgetBytes) return plan;
  }
  return best as PhasePlan;
}

function inputBytes(model: ModelGraph): number {
  return Object.values(model.inputs).reduce((sum, input) => sum + valueBytes(input), 0);
}

/** Bytes of a part's tensors, those of a quantized layer under its qtype. */
function weightBytesOf(parts: PipelineParts, part: string): Record<string, number> {
  const model = modelOf(parts, part);
  const found: Record<string, number> = {};
  for (const { name, dtype, sizeBytes } of model.tensors) {
    const module = /^(.*)\.weight\.(?:_data|_scale|_shift)/.exec(name)?.[1] ?? "";
    const key = model.qtypes.get(module) ?? dtype;
    found[key] = (found[key] ?? 0) + sizeBytes;
  }
  return found;
}

/** Sides that are offered where a size does not fit, as shares of it. */
const SMALLER = [0.75, 0.5, 0.25];

/** What a plan was made for. */
export interface Planned {
  readonly pipeline: PipelineClass;
  readonly parts: PipelineParts;
  readonly request: Request;
  readonly limits: PlanLimits;
}

/** The error for a request that no plan fits, with what would fit. */
export function unfitError(plan: MemoryPlan, planned: Planned): UsageError {
  const allowed = `of the ${gigabytes(planned.limits.maxBytes)} that may be used ${gigabytes(plan.budgetBytes)} are for that`;
  return new UsageError(`${whatItTakes(plan, planned)}, and ${allowed}`, { hint: whatFits(plan, planned) });
}

/** The same in words, where nobody has set a limit, or one above what is free: that may grow, and the system may have means of its own. */
export function warnOfUnfit(plan: MemoryPlan, planned: Planned, freeBytes: number): string {
  return (
    `${whatItTakes(plan, planned)}, more than the ${gigabytes(freeBytes)} that are free for that: ` +
    ["it may become slow, or be stopped by the system", ...smallerRequests(planned)].join("; ")
  );
}

function whatItTakes(plan: MemoryPlan, { request: { height, width, numImagesPerPrompt: images } }: Planned): string {
  const worst = highestPhase(plan);
  return `${images} x ${width} x ${height} pixels take ${gigabytes(worst.peakBytes)} of memory (${worst.phase})`;
}

/** What would fit where a plan does not, in words. */
function whatFits(plan: MemoryPlan, planned: Planned): string {
  const { peakBytes } = highestPhase(plan);
  const needed = Math.ceil(Math.max(peakBytes / (1 - FILE_SHARE), peakBytes + LEAST_FILE_BYTES) / 1e8) * 1e8;
  return [`allow ${gigabytes(needed)}`, ...smallerRequests(planned)].join(", or ");
}

/** Requests of the same kind that would fit. */
function smallerRequests({ pipeline, parts, request, limits }: Planned): string[] {
  const { height, width, numImagesPerPrompt: images } = request;
  const fits = (changed: Partial<Request>, within: PlanLimits = limits) => {
    const smaller = { ...request, ...changed };
    return planMemory(pipeline, parts, smaller, pipeline.workSize(parts, smaller), within).fits;
  };
  const multiple = pipeline.defaults(parts).sizeMultiple;
  const scaled = (side: number, share: number) => Math.max(multiple, Math.floor((side * share) / multiple) * multiple);
  const share = SMALLER.find((candidate) => fits({ height: scaled(height, candidate), width: scaled(width, candidate) }));
  const offers = [
    ...(limits.prefer === "resident" && fits({}, { ...limits, prefer: undefined })
      ? ["the model without enableModelCpuOffload(), which makes the transformer one program"]
      : []),
    ...(images > 1 && fits({ numImagesPerPrompt: 1 }) ? ["one picture at a time"] : []),
    ...(share === undefined ? [] : [`${scaled(width, share)} x ${scaled(height, share)} pixels`]),
  ];
  return offers.map((offer) => `ask for ${offer}, which fits`);
}

function highestPhase({ phases }: MemoryPlan): PhasePlan {
  return phases.reduce((most, phase) => (phase.peakBytes > most.peakBytes ? phase : most));
}

function gigabytes(bytes: number): string {
  return `${(Math.max(0, bytes) / 1e9).toFixed(2)} GB`;
}
