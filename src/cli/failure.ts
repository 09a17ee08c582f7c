/** Prints what went wrong in three lines, and decides the exit code. */
import { inspect } from "node:util";
import { CancelledError, HalftoneError, UsageError } from "../index.ts";
import type { Output } from "./surroundings.ts";
import { visibleText } from "./units.ts";

/** The library names an option as code does; the command line says the flag. */
const FLAGS: Readonly<Record<string, string>> = {
  numInferenceSteps: "--steps",
  numImagesPerPrompt: "--images",
  guidanceScale: "--guidance-scale",
  height: "--height",
  width: "--width",
  seed: "--seed",
  qtype: "--qtype",
  optimizer: "--optimizer",
  clipSkip: "--clip-skip",
  prompt2: "--prompt-2",
  prompt3: "--prompt-3",
  negativePrompt2: "--negative-prompt-2",
  negativePrompt3: "--negative-prompt-3",
  useResolutionBinning: "--binning",
  fast: "--fast",
  targetPsnr: "--target-psnr",
  targetError: "--target-error",
};

/** Prints an error to stderr and returns the exit code: 2 for misuse, 1 otherwise. */
export function reportFailure(error: unknown, stderr: Output, debug: boolean): number {
  const lines = error instanceof HalftoneError ? knownError(error) : defect(error);
  for (const [label, text] of lines) if (text !== undefined) stderr.write(`${label.padEnd(6)} ${visibleText(text)}\n`);
  if (debug) stderr.write(`${inspect(error)}\n`);
  return error instanceof UsageError ? 2 : 1;
}

/** Prints that the user stopped the run. */
export function reportCancelled(stderr: Output): void {
  stderr.write("cancelled: nothing was written\n");
}

/** Whether an error is a consequence of the user's Ctrl-C. */
export function isCancelled(error: unknown, signal: AbortSignal): boolean {
  return error instanceof CancelledError || signal.aborted;
}

function knownError({ message, where, hint }: HalftoneError): [string, string | undefined][] {
  const sentence = message.replace(/^[a-z]\w+(?= must )|(?<=^option )\w+(?= was given)/i, (name) => FLAGS[name] ?? name);
  return [
    ["error:", sentence],
    ["where:", where],
    ["hint:", hint],
  ];
}

function defect(error: unknown): [string, string][] {
  return [
    ["error:", error instanceof Error ? error.message : String(error)],
    ["hint:", "this should not happen: please report it with the output of the same command and --debug"],
  ];
}
