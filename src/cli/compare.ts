/** halftone compare: what quantization does to a model's pictures, as a grid, a report and a list of layers worth keeping in float. */
import { realpath } from "node:fs/promises";
import { type CompareReport, type ComputeDType, type Measured, type Proposal, UsageError } from "../index.ts";
import { printResult } from "./print-result.ts";
import { createProgress } from "./progress.ts";
import { DEMO_PROMPTS, readPrompts } from "./prompts-file.ts";
import type { Surroundings } from "./surroundings.ts";
import { bytesText, percentText, visibleText } from "./units.ts";

/** Flags of `halftone compare`. */
export interface CompareFlags {
  readonly prompts?: string;
  readonly qtype?: readonly string[];
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly fast?: boolean;
  readonly sensitivity?: boolean;
  readonly targetPsnr?: number;
  readonly targetError?: number;
  readonly seed?: number | bigint;
  readonly steps?: number;
  readonly guidanceScale?: number;
  readonly height?: number;
  readonly width?: number;
  readonly dtype?: ComputeDType;
  readonly variant?: string;
  readonly revision?: string;
  readonly offline?: boolean;
  readonly threads?: number;
  readonly maxMemory?: number;
  readonly output?: string;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const DEFAULT_OUTPUT = "halftone-compare";

/** Runs the command; errors as the library's. */
export async function compare(model: string | undefined, flags: CompareFlags, { library, terminal, signal }: Surroundings): Promise<void> {
  const { offline, json, quiet, steps, qtype, output = DEFAULT_OUTPUT, ...options } = flags;
  if (qtype === undefined) throw new UsageError("compare needs --qtype, got none", { hint: "for example --qtype qint8 --qtype qint4" });
  const prompts = await promptsOf(model, flags.prompts, library.demoModelFolder);
  const progress = await createProgress(terminal, quiet === true);
  const { report } = await library
    .compareQuantization(model ?? library.demoModelFolder, {
      ...options,
      prompts,
      qtypes: qtype,
      numInferenceSteps: steps,
      localFilesOnly: offline,
      output,
      signal,
      onEvent(event) {
        if (event.type === "warning") terminal.stderr.write(`warning: ${visibleText(event.message)}\n`);
        progress.show(event);
      },
    })
    .finally(() => progress.stop());
  const lines = summary(output, report).map(visibleText);
  printResult(terminal, { json, quiet }, { object: report, summary: `${lines.join("\n")}\n`, names: [output] });
}

async function promptsOf(model: string | undefined, file: string | undefined, demo: string): Promise<readonly string[]> {
  if (file !== undefined) return readPrompts(file);
  if (model === undefined || (await isSameFolder(model, demo))) return DEMO_PROMPTS;
  throw new UsageError("compare needs --prompts, got none", { hint: "name a file with a prompt a line" });
}

async function isSameFolder(a: string, b: string): Promise<boolean> {
  const real = (path: string) => realpath(path).catch(() => path);
  return (await real(a)) === (await real(b));
}

/** The folder, then a line for each setting and some for its proposal. */
function summary(output: string, { dtype, reference, variants }: CompareReport): string[] {
  const width = Math.max(dtype.length, ...variants.map(({ label }) => label.length));
  const line = (label: string, text: string) => `${label.padEnd(width)}  ${text}`;
  return [
    output,
    line(dtype, bytesText(reference.weightBytes)),
    ...variants.flatMap(({ label, measured, proposal }) => [
      line(label, measuredText(measured)),
      ...(proposal === null ? [] : proposalTexts(proposal).map((text) => line("", text))),
    ]),
  ];
}

function proposalTexts({ layers, costBytes, measured, isReached, flags }: Proposal): string[] {
  if (isReached && layers.length === 0) return ["no layer has to stay in float"];
  if (flags === "") return ["the target is not reached with anything quantized"];
  const count = layers.length === 1 ? "1 layer" : `${layers.length} layers`;
  return [
    `${measuredText(measured)}  with ${count} in float (+${bytesText(Math.max(0, costBytes))})`,
    ...(isReached ? [] : ["the target is not reached"]),
    flags,
  ];
}

function measuredText({ weightBytes, similarity: { psnr, ssim }, predictionError }: Measured): string {
  const error = predictionError === null ? "" : `  error ${percentText(predictionError)}`;
  return `${bytesText(weightBytes)}  PSNR ${psnr === null ? "equal" : `${psnr.toFixed(1)} dB`}  SSIM ${ssim.toFixed(4)}${error}`;
}
