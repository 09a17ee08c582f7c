/**
 * What a command works with: the library, the terminal, and the signal of Ctrl-C. Handed in, so that tests can run commands in their own.
 */
import type {
  Benchmark,
  BenchOptions,
  CompareOptions,
  Comparison,
  GenerateOptions,
  LoadOptions,
  ModelPlan,
  ModelReport,
  PipelineEvent,
  PipelineOptions,
  PlanOptions,
  QuantizationRequest,
  QuantizeCheckpointOptions,
  QuantizeReport,
} from "../index.ts";

/** An open pipeline, as much of it as a command needs. */
export interface OpenPipeline {
  readonly transformer: { readonly qtypes: ReadonlyMap<string, string>; fuseQkvProjections(): void } | null;
  quantize(spec: string, patterns: Omit<QuantizationRequest, "spec">): void;
  stream(prompt: string, options: GenerateOptions): AsyncIterable<PipelineEvent>;
  dispose(): Promise<void>;
}

/** The library, as much of it as commands need. */
export interface Library {
  openPipeline(model: string, options: PipelineOptions): Promise<OpenPipeline>;
  inspectModel(model: string, options: LoadOptions): Promise<ModelReport>;
  planModel(model: string, options: PlanOptions): Promise<ModelPlan>;
  quantizeCheckpoint(model: string, options: QuantizeCheckpointOptions): Promise<QuantizeReport>;
  compareQuantization(model: string, options: CompareOptions): Promise<Comparison>;
  runBenchmark(options: BenchOptions): Promise<Benchmark>;
  /** The embedded checkpoint. */
  readonly demoModelFolder: string;
}

/** One side of the terminal. */
export interface Output {
  write(text: string): boolean;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

/** Where a command speaks. */
export interface Terminal {
  /** Results alone: file names, JSON, reports. */
  readonly stdout: Output;
  /** Everything else. */
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Everything that a command is given beside its arguments. */
export interface Surroundings {
  readonly library: Library;
  readonly terminal: Terminal;
  readonly signal: AbortSignal;
}
