/** The whole public surface of halftone. */
export {
  CancelledError,
  CheckpointError,
  DownloadError,
  EngineError,
  FileError,
  HalftoneError,
  nearestWord,
  UnsupportedError,
  UsageError,
} from "./errors.ts";
export type { GeneratedImage } from "./image/image.ts";
export { readRecipe } from "./image/png.ts";
export type { QuantizationRequest, Recipe } from "./image/recipe.ts";
export { checkWritableFile, type FileToWrite, writeWholeFiles } from "./image/save-node.ts";
export type { BenchCell, BenchMatrix, BenchSize } from "./pipelines/bench/bench-cell.ts";
export type { BenchReport, BenchRow, BenchSummary, MachineReport, PhaseSummary } from "./pipelines/bench/bench-report.ts";
export { type BenchRecipe, type BenchRun, parseBenchRun } from "./pipelines/bench/bench-run.ts";
export { type BenchEvent, type Benchmark, type BenchOptions, runBenchmark } from "./pipelines/bench/run-benchmark.ts";
export type { Spread } from "./pipelines/bench/statistics.ts";
export { type Comparison, compareQuantization } from "./pipelines/compare/compare.ts";
export type { CompareOptions } from "./pipelines/compare/compare-options.ts";
export type {
  CompareEvent,
  CompareReport,
  LayerSensitivity,
  Measured,
  MeasuredCall,
  Proposal,
  QualityTarget,
  Sensitivity,
  Similarity,
  Variant,
} from "./pipelines/compare/report.ts";
export { demoModelFolder } from "./pipelines/demo-node.ts";
export { DiffusionModel, type ModelOptions, type SavePretrainedOptions } from "./pipelines/diffusion-model.ts";
export type {
  DownloadEvent,
  FreezeEvent,
  ImageEvent,
  LoadEvent,
  Phase,
  PhaseEvent,
  PhaseReport,
  PipelineEvent,
  RunReport,
  SegmentEvent,
  StepEvent,
  SummaryEvent,
  WarningEvent,
} from "./pipelines/events.ts";
export { inspectModel, type ModelReport, type PartReport } from "./pipelines/inspect.ts";
export { latentsFile, saveLatents } from "./pipelines/latents-node.ts";
export type { MemoryPlan, PartPlan, PhasePlan } from "./pipelines/memory-plan.ts";
export type { PipelineOptions } from "./pipelines/open-pipeline.ts";
export type { GenerateOptions, LoadOptions } from "./pipelines/options.ts";
export { DiffusionPipeline, type GenerateResult, type VaeTilingOptions } from "./pipelines/pipeline.ts";
export { type ModelPlan, type PlanOptions, planModel } from "./pipelines/plan-model.ts";
export { freeze, type QuantizeOptions, quantize } from "./pipelines/quantization.ts";
export {
  type QuantizeCheckpointOptions,
  type QuantizedPartReport,
  type QuantizeEvent,
  type QuantizeReport,
  quantizeCheckpoint,
} from "./pipelines/quantize-checkpoint.ts";
export { type QType, qfloat8, qfloat8_e4m3fn, qfloat8_e4m3fnuz, qfloat8_e5m2, qint2, qint4, qint8 } from "./quant/qtype.ts";
export { memorySizeBytes } from "./runtime/memory-size.ts";
export { type CachedFile, clearWeightCache, listWeightCache, weightCacheFolder, weightCacheLimit } from "./runtime/weight-cache-node.ts";
export type { ComputeDType } from "./tensor/dtype.ts";
export type { FloatTensor } from "./tensor/tensor.ts";
export { version } from "./version.ts";
