#!/usr/bin/env node
/** The entry of the command `halftone`: connects the commands with the process. */
import {
  compareQuantization,
  DiffusionPipeline,
  demoModelFolder,
  inspectModel,
  planModel,
  quantizeCheckpoint,
  runBenchmark,
} from "../index.ts";
import { watchInterrupts } from "./interrupt.ts";
import { runCommandLine } from "./program.ts";
import type { Library } from "./surroundings.ts";

const library: Library = {
  openPipeline: (model, options) => DiffusionPipeline.fromPretrained(model, options),
  inspectModel,
  planModel,
  quantizeCheckpoint,
  compareQuantization,
  runBenchmark,
  demoModelFolder,
};

// Whoever reads our output may close it early (`halftone inspect m | head -1`).
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return;
    if (stream === process.stdout) process.stderr.write(`error: the output could not be written: ${error.message}\n`);
    process.exitCode = 1;
  });
}

const interrupts = watchInterrupts(() => process.stderr.write("stopping; Ctrl-C once more ends at once\n"));
const exitCode = await runCommandLine(process.argv.slice(2), { library, terminal: process, signal: interrupts.signal });
interrupts.stop();
process.exitCode = exitCode === 1 ? (interrupts.exitCode() ?? 1) : exitCode;
