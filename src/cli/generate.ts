/**
 * halftone generate: a prompt in, pictures out.
 *
 * Everything that can be refused is refused before the model is opened. Pictures are saved when all of them are there, so that a run that
 * fails or is cancelled leaves nothing behind.
 */
import { setImmediate } from "node:timers/promises";
import { CancelledError, type GeneratedImage, type PipelineEvent, type RunReport, saveLatents } from "../index.ts";
import { checkOutputs, defaultPath, numberedPath } from "./output-files.ts";
import { createProgress, type Progress } from "./progress.ts";
import { type GenerateFlags, planRequest, type Request, warningsAfter } from "./request.ts";
import { resultJson, summaryLine } from "./summary.ts";
import type { Surroundings } from "./surroundings.ts";

/** Runs the command; errors as the library's. */
export async function generate(prompt: string | undefined, flags: GenerateFlags, surroundings: Surroundings): Promise<void> {
  const { library, terminal, signal } = surroundings;
  const request = await planRequest(prompt, flags, library.demoModelFolder);
  const expected = flags.output ?? defaultPath(request.generate.seed ?? 0);
  await checkOutputs(expected, request.images, flags.saveLatents);

  const warnings: string[] = [];
  const warn = (message: string) => {
    warnings.push(message);
    terminal.stderr.write(`warning: ${message}\n`);
  };
  for (const message of request.warnings) warn(message);
  const progress = createProgress(terminal, flags.quiet === true);
  const { images, report } = await run(request, flags, surroundings, progress, warn).finally(() => progress.stop());
  if (signal.aborted) throw new CancelledError("the run was cancelled");
  const [first] = images;
  if (request.recipe !== undefined && first !== undefined) for (const message of warningsAfter(request.recipe, first.recipe)) warn(message);

  const files = await save(images, flags, report);
  if (flags.json === true) {
    terminal.stdout.write(`${JSON.stringify(resultJson(files, flags.saveLatents, images, report, warnings), undefined, 2)}\n`);
    return;
  }
  if (flags.quiet !== true) terminal.stderr.write(`${summaryLine(files, images, report)}\n`);
  // On a terminal the summary has named the file already.
  const isNamed = flags.quiet !== true && terminal.stdout.isTTY === true && terminal.stderr.isTTY === true;
  if (!isNamed) terminal.stdout.write(files.map((file) => `${file}\n`).join(""));
}

async function run(
  request: Request,
  flags: GenerateFlags,
  { library, signal }: Surroundings,
  progress: Progress,
  warn: (message: string) => void,
) {
  const images: GeneratedImage[] = [];
  let report: RunReport | undefined;
  const onEvent = (event: PipelineEvent) => {
    if (event.type === "warning") warn(event.message);
    if (event.type === "image") images.push(event.image);
    if (event.type === "summary") report = event.report;
    progress.show(event);
  };
  const pipeline = await library.openPipeline(request.model, { ...request.load, signal, onEvent });
  try {
    if (flags.fuseQkv === true) pipeline.transformer?.fuseQkvProjections();
    if (request.quantization !== undefined) pipeline.quantize(request.quantization.spec, request.quantization);
    for await (const event of pipeline.stream(request.prompt, { ...request.generate, signal })) {
      onEvent(event);
      // Signals are delivered between turns of the event loop.
      await setImmediate();
    }
  } finally {
    await pipeline.dispose();
  }
  if (report === undefined) throw new Error("a run ended without its summary");
  return { images, report };
}

async function save(images: readonly GeneratedImage[], flags: GenerateFlags, report: RunReport): Promise<string[]> {
  const output = flags.output ?? defaultPath(report.seed);
  const files: string[] = [];
  for (const [index, image] of images.entries()) {
    const file = numberedPath(output, index, images.length);
    await image.save(file, { metadata: flags.metadata });
    files.push(file);
  }
  if (flags.saveLatents !== undefined) await saveLatents(flags.saveLatents, report.latents);
  return files;
}
