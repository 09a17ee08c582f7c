/**
 * How a model is held in memory, and what that will take: decided from its graphs alone, before anything is compiled.
 *
 * Fastest is one program that is kept: it is compiled once and finds its scratch memory where the last call left it. But while it runs,
 * nothing is heard of its progress and it cannot be stopped, so it must not take long. Else four segments share a program, compiled anew at
 * every call, and fewer where memory is short. Measured in bench/segments; docs/memory.md has the table.
 */
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { Graph, Value } from "../graph/graph.ts";
import { type ModelGraph, type ModelPiece, modelPieces } from "../graph/segment.ts";
import { elementCount } from "../tensor/tensor.ts";
import { graphFlops } from "./graph-flops.ts";
import { predictGraphMemory, valueBytes } from "./graph-memory.ts";

/** How a model is held in memory. */
export interface HoldPlan {
  readonly hold: "resident" | "streamed";
  /** Segments that share a program. */
  readonly segmentsPerProgram: number;
}

/** A plan and what it will take. */
export interface PlannedHold extends HoldPlan {
  /** The highest anonymous memory of a call beside what the process has already, in bytes. */
  readonly peakBytes: number;
}

/** What decides the plan. */
export interface HoldOptions {
  /** Anonymous memory that a call may take. Default: any amount. */
  readonly budgetBytes?: number | undefined;
  /**
   * What is wanted: a repeated model as one program, whatever it takes, or any in as little memory as it can. Default: what suits the model
   * and fits.
   */
  readonly prefer?: HoldPlan["hold"] | undefined;
  /** Whether the model is called again and again, so that keeping its programs is worth something. Default false. */
  readonly isRepeated?: boolean | undefined;
}

/** Up to this many bytes of widened weights a model is compiled whole, however often it is called. */
const WHOLE_UP_TO_BYTES = 256 * 1024 * 1024;
/** Work of a program, in operations: some seconds on two cores with AVX-512, for which its caller has to wait. */
const WHOLE_UP_TO_FLOPS = 4e12;
/** Times the least memory that is as good as the least: a segment a program is a fifth slower than four (bench/segments). */
const NEARLY = 1.1;
/** Segments of a program, the fastest first. */
const STREAMED = [4, 2, 1];
/** What programs take beside values, weights and results. */
interface Overhead {
  /** The engine's own, buffers of its threads and operators, and what the C library keeps in pieces where programs come and go. */
  readonly fixedBytes: number;
  /** What a node takes while its graph is compiled, JavaScript's and the engine's together. */
  readonly nodeBytes: number;
}

/** Measured on PixArt-Σ, SD3 and AuraFlow, their text encoders and VAEs (bench/memory); docs/memory.md says how near they are. */
const OVERHEAD = {
  kept: { fixedBytes: 14e6, nodeBytes: 10e3 },
  streamedOnce: { fixedBytes: 50e6, nodeBytes: 5.5e3 },
  streamedAgain: { fixedBytes: 45e6, nodeBytes: 16e3 },
} satisfies Record<string, Overhead>;

/** The fastest plan that fits the budget, or the smallest where none does. */
export function planHold(model: ModelGraph, options: HoldOptions = {}): PlannedHold {
  const { budgetBytes = Number.POSITIVE_INFINITY } = options;
  const plans: PlannedHold[] = [];
  for (const plan of candidates(model, options)) {
    const planned = { ...plan, peakBytes: predictPeak(model, plan, options) };
    plans.push(planned);
    if (options.prefer !== "streamed" && planned.peakBytes <= budgetBytes) return planned;
  }
  const least = Math.min(...plans.map(({ peakBytes }) => peakBytes));
  const most = options.prefer === "streamed" ? Math.max(least, Math.min(NEARLY * least, budgetBytes)) : least;
  return plans.find(({ peakBytes }) => peakBytes <= most) as PlannedHold;
}

/** The highest anonymous memory of a call: the engine's scratch memory and results, and values that wait for a later program. */
export function predictPeak(model: ModelGraph, plan: HoldPlan, { isRepeated = false }: Pick<HoldOptions, "isRepeated"> = {}): number {
  const pieces = modelPieces(model, plan.segmentsPerProgram);
  const given = Object.values(model.inputs).reduce((sum, { shape, dtype }) => sum + valueBytes({ shape, dtype }), 0);
  let waiting = new Map<string, number>();
  let peak = 0;
  const streamed = isRepeated ? OVERHEAD.streamedAgain : OVERHEAD.streamedOnce;
  const predict = rememberingPrediction(plan.hold === "resident" ? OVERHEAD.kept : streamed);
  for (const [index, piece] of pieces.entries()) {
    const between = Array.from(waiting.values()).reduce((sum, bytes) => sum + bytes, 0);
    peak = Math.max(peak, predict(piece.build()) + between);
    for (const [name, value] of piece.outputs) waiting.set(name, valueBytes(value));
    const needed = neededAfter(model, pieces, index);
    waiting = new Map(Array.from(waiting).filter(([name]) => needed.has(name)));
  }
  return peak + given;
}

/** A program's memory; most programs of a model differ in the names of their weights alone. */
function rememberingPrediction({ fixedBytes, nodeBytes }: Overhead): (graph: Graph) => number {
  const known = new Map<string, number>();
  return (graph) => {
    const about = ({ dtype, shape }: Pick<Value, "dtype" | "shape">) => `${dtype}[${shape}]`;
    const inputName = (name: string) => (graph.weights.has(name) ? about(graph.weights.get(name) as StoredTensor) : name);
    const nodes = graph.nodes.map(({ operator, inputs, outputs }) => [operator, inputs.map(inputName).join(), outputs.map(about).join()]);
    const key = [...graph.inputs.map((input) => input.name + about(input)), ...nodes].join("\n");
    const found = known.get(key);
    if (found !== undefined) return found;
    const { arenaBytes, outputBytes } = predictGraphMemory(graph);
    const bytes = fixedBytes + nodeBytes * graph.nodes.length + arenaBytes + outputBytes;
    known.set(key, bytes);
    return bytes;
  };
}

/** Names of the values that the pieces after one, or the caller, still read. */
export function neededAfter(model: ModelGraph, pieces: readonly ModelPiece[], index: number): Set<string> {
  return new Set([...model.outputs, ...pieces.slice(index + 1).flatMap(({ inputs }) => inputs)]);
}

function candidates(model: ModelGraph, { prefer, isRepeated = false }: HoldOptions): HoldPlan[] {
  const whole: HoldPlan = { hold: "resident", segmentsPerProgram: model.segments.length };
  const streamed = STREAMED.map((segmentsPerProgram): HoldPlan => ({ hold: "streamed", segmentsPerProgram }));
  if (prefer === "resident" && isRepeated) return [whole];
  if (prefer === "streamed") return streamed;
  const { weightBytes, flops } = sizeOf(model);
  const isWhole = weightBytes <= WHOLE_UP_TO_BYTES || (isRepeated && flops <= WHOLE_UP_TO_FLOPS);
  return isWhole ? [whole, ...streamed] : streamed;
}

/** Bytes that a model's weights take when widened to float32, and its operations: what decides whether it is worth splitting. */
function sizeOf(model: ModelGraph): { weightBytes: number; flops: number } {
  let weightBytes = 0;
  let flops = 0;
  for (const piece of modelPieces(model, 1)) {
    const graph = piece.build();
    // Codes of 4 and 2 bits lie two and more to a byte; a rough count will do here.
    for (const { dtype, shape } of graph.weights.values()) weightBytes += (dtype === "uint8" ? 8 : 4) * elementCount(shape);
    flops += graphFlops(graph);
  }
  return { weightBytes, flops };
}
