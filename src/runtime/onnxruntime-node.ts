/**
 * onnxruntime in Node, on the CPU. Weights are mapped from their files by the engine and never enter JavaScript.
 *
 * Graph optimization and pre-packing are off: both would store widened copies of the weights, and the graphs are written in fused operators
 * to begin with. Measured in docs/architecture.md.
 */
// Must stay the first import.
import "./no-telemetry-node.ts";
import path from "node:path";
import { setImmediate } from "node:timers/promises";
import ort from "onnxruntime-node";
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import { EngineError } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import { encodeOnnx, type WeightPlace } from "../graph/onnx.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { collectGarbage, majorPageFaults } from "./memory-node.ts";
import type { CompileOptions, Program, Runtime } from "./runtime.ts";

/** Options of the runtime. */
export interface OnnxRuntimeOptions {
  /** Threads per operator; default: as many as the engine thinks the machine has. */
  threads?: number | undefined;
}

/** Version of the engine. */
export const engineVersion: string = ort.env.versions.node ?? ort.env.versions.common;

/** onnxruntime-node on the CPU. */
export function onnxRuntimeNode(options: OnnxRuntimeOptions = {}): Runtime {
  let faults = 0;
  let prefetches = 0;
  return {
    name: "onnxruntime-node/cpu",
    collectGarbage,
    nextTurn: () => setImmediate(),
    prefetch(weights) {
      const before = faults;
      faults = majorPageFaults();
      if (faults - before >= COLD_FAULTS) prefetches = PREFETCHES;
      // Pages that are in memory already would only be copied for nothing.
      if (prefetches === 0) return;
      prefetches--;
      for (const { source, offset, sizeBytes } of weights) source.prefetch?.(offset, sizeBytes);
    },
    async compile(graph, compileOptions) {
      const weights = [...graph.weights.values()];
      const folder = commonFolder(weights);
      const places = new Map<string, WeightPlace>();
      for (const stored of weights) places.set(stored.name, await placeWeight(stored, folder));
      const model = encodeOnnx(graph, (stored) => places.get(stored.name) as WeightPlace);
      const session = await attempt("compile", () => ort.InferenceSession.create(model, sessionOptions(folder, options, compileOptions)));
      return new OnnxProgram(session, graph);
    },
  };
}

/** Pages that had to be read from disk since the last program: from so many on, the next ones' will have to be, too. */
const COLD_FAULTS = 4;
/** So many more: what has been prefetched has no faults, and that must not end it at once. */
const PREFETCHES = 64;

class OnnxProgram implements Program {
  private session: ort.InferenceSession | undefined;
  /** The engine's output names by the caller's. */
  private readonly outputs: readonly (readonly [string, string])[];

  constructor(session: ort.InferenceSession, graph: Graph) {
    this.session = session;
    this.outputs = Array.from(graph.outputs, ([name, value]) => [name, value.name]);
  }

  async run(inputs: Readonly<Record<string, Tensor>>, into: Readonly<Record<string, Tensor>> = {}): Promise<Record<string, Tensor>> {
    const { session } = this;
    if (session === undefined) throw new EngineError("a compiled graph was run after it had been disposed of");
    const feeds = Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, toEngine(tensor)]));
    const fetches = Object.fromEntries(
      this.outputs.map(([name, engineName]) => [engineName, into[name] === undefined ? null : toEngine(into[name])]),
    );
    const results = await attempt("run", () => session.run(feeds, fetches));
    return Object.fromEntries(this.outputs.map(([name, engineName]) => [name, fromEngine(results[engineName] as ort.Tensor)]));
  }

  async dispose(): Promise<void> {
    const { session } = this;
    this.session = undefined;
    await session?.release();
  }
}

function toEngine({ dtype, data, shape }: Tensor): ort.Tensor {
  return new ort.Tensor(dtype, data, shape);
}

function fromEngine(tensor: ort.Tensor): Tensor {
  return { dtype: tensor.type, shape: tensor.dims, data: tensor.data } as Tensor;
}

function sessionOptions(folder: string, options: OnnxRuntimeOptions, compile: CompileOptions): ort.InferenceSession.SessionOptions {
  return {
    executionProviders: ["cpu"],
    graphOptimizationLevel: "disabled",
    enableCpuMemArena: compile.keepScratchMemory,
    // A pattern makes the second run take its memory once more, beside what the arena holds from the first.
    enableMemPattern: false,
    logSeverityLevel: 3,
    ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
    extra: { session: { disable_prepacking: "1", model_external_initializers_file_folder_path: folder } },
  };
}

async function placeWeight(stored: StoredTensor, folder: string): Promise<WeightPlace> {
  const { file } = stored.source;
  if (file === undefined || stored.sizeBytes === 0) return { bytes: await stored.source.read(stored.offset, stored.sizeBytes) };
  const location = path.relative(folder, path.join(file.folder, file.fileName));
  return { location: location.split(path.sep).join("/"), offset: stored.offset };
}

/** The deepest folder that holds all weight files: the engine resolves every location against one folder and refuses to leave it. */
function commonFolder(weights: readonly StoredTensor[]): string {
  const folders = [...new Set(weights.flatMap(({ source }) => source.file?.folder ?? []))];
  const [first = "."] = folders;
  const names = first.split(path.sep);
  while (names.length > 1 && !folders.every((folder) => `${folder}${path.sep}`.startsWith(`${names.join(path.sep)}${path.sep}`)))
    names.pop();
  return names.join(path.sep) || path.sep;
}

async function attempt<T>(doing: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    throw new EngineError(`onnxruntime could not ${doing} a graph: ${words}`, { cause: error });
  }
}
