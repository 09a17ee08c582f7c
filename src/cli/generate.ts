/**
 * halftone generate: a prompt in, pictures out.
 *
 * Everything that can be refused is refused before the model is opened. Files are written when all pictures are there, and all of them or
 * none, so that a run that fails or is cancelled leaves nothing behind.
 */
import { existsSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import {
  CancelledError,
  type GeneratedImage,
  latentsFile,
  type PipelineEvent,
  type RunReport,
  UsageError,
  writeWholeFiles,
} from "../index.ts";
import { checkOutputs, defaultPath, numberedPath } from "./output-files.ts";
import { printResult } from "./print-result.ts";
import { createProgress, type Progress } from "./progress.ts";
import { type GenerateFlags, planRequest, type Request, warningsAfter } from "./request.ts";
import { RunRecord } from "./run-record.ts";
import { resultJson, summaryLine } from "./summary.ts";
import type { Library, OpenPipeline, Surroundings } from "./surroundings.ts";
import { visibleText } from "./units.ts";

/** Runs the command; errors as the library's. */
export async function generate(prompt: string | undefined, flags: GenerateFlags, surroundings: Surroundings): Promise<void> {
  const { library, terminal, signal } = surroundings;
  const request = await planRequest(prompt, flags, library.demoModelFolder);
  const expected = flags.output ?? defaultPath(request.generate.seed ?? 0);
  await checkOutputs(expected, request.images, flags.saveLatents);

  const warnings: string[] = [];
  const warn = (message: string) => {
    warnings.push(message);
    terminal.stderr.write(`warning: ${visibleText(message)}\n`);
  };
  for (const message of request.warnings) warn(message);
  const progress = await createProgress(terminal, flags.quiet === true);
  const { record, report, loadSeconds } = await run(request, flags, surroundings, progress, warn).finally(() => progress.stop());
  if (signal.aborted) throw new CancelledError("the run was cancelled");
  const { images, frozen } = record;
  const [first] = images;
  if (first !== undefined) for (const message of warningsAfter(request, first.recipe)) warn(message);

  const files = await save(images, flags, report);
  const object = resultJson({ files, latentsFile: flags.saveLatents, record, report, loadSeconds, warnings });
  printResult(terminal, flags, { object, summary: `${summaryLine(files, images, report, frozen)}\n`, names: files });
}

async function run(
  request: Request,
  flags: GenerateFlags,
  { library, signal }: Surroundings,
  progress: Progress,
  warn: (message: string) => void,
) {
  const record = new RunRecord();
  const onEvent = (event: PipelineEvent) => {
    if (event.type === "warning") warn(event.message);
    record.note(event);
    progress.show(event);
  };
  await refuseUnfit(request, library, signal);
  const started = performance.now();
  const pipeline = await library.openPipeline(request.model, { ...request.load, signal, onEvent });
  const loadSeconds = (performance.now() - started) / 1000;
  try {
    if (flags.fuseQkv === true) pipeline.transformer?.fuseQkvProjections();
    if (request.quantization !== undefined) pipeline.quantize(request.quantization.spec, request.quantization);
    else if (request.generate.fast === true) quantizeForFast(pipeline, flags, warn);
    for await (const event of pipeline.stream(request.prompt, { ...request.generate, signal })) {
      onEvent(event);
      // Signals are delivered between turns of the event loop.
      await setImmediate();
    }
  } finally {
    await pipeline.dispose();
  }
  const { report } = record;
  if (report === undefined) throw new Error("a run ended without its summary");
  return { record, report, loadSeconds };
}

/** A model on the Hub whose pictures do not fit --max-memory is not downloaded for them. */
async function refuseUnfit({ model, load, prompt, generate: asked, quantization }: Request, library: Library, signal: AbortSignal) {
  if (load.maxMemory === undefined || existsSync(model)) return;
  const { height, width, numImagesPerPrompt, guidanceScale, negativePrompt, useResolutionBinning, maxSequenceLength, fast } = asked;
  const sizes = { height, width, numImagesPerPrompt, guidanceScale, negativePrompt, useResolutionBinning, maxSequenceLength, fast };
  const { problem, hint } = await library.planModel(model, { ...load, ...sizes, prompt, quantization, signal });
  if (problem !== undefined) throw new UsageError(problem, { hint });
}

/** What a fast run multiplies are 8-bit weights: a transformer that has none gets them. */
function quantizeForFast(pipeline: OpenPipeline, { include, exclude }: GenerateFlags, warn: (message: string) => void): void {
  const { transformer } = pipeline;
  if (transformer === null || transformer.qtypes.size > 0) return;
  pipeline.quantize(FAST_QTYPE, { include, exclude });
  warn(`--fast multiplies 8-bit weights: the transformer is quantized, as by --qtype ${FAST_QTYPE}`);
}

const FAST_QTYPE = "transformer=qint8";

/** Writes pictures and latents, all or none; returns the names of the pictures. */
async function save(images: readonly GeneratedImage[], { saveLatents, metadata, output }: GenerateFlags, report: RunReport) {
  const pictures = images.map((image, index) => ({
    path: numberedPath(output ?? defaultPath(report.seed), index, images.length),
    bytes: () => image.toPng({ metadata }),
  }));
  const latents = saveLatents === undefined ? [] : [{ path: saveLatents, bytes: () => latentsFile(report.latents) }];
  await writeWholeFiles([...pictures, ...latents]);
  return pictures.map(({ path }) => path);
}
