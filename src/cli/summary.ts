/** What `halftone generate` says at its end: a line for people, an object for programs. */
import type { FreezeEvent, GeneratedImage, PhaseReport, Recipe, RunReport } from "../index.ts";
import type { RunRecord } from "./run-record.ts";
import { bytesText, secondsText } from "./units.ts";

/** The object that --json prints. */
export interface ResultJson {
  readonly files: readonly string[];
  readonly latentsFile?: string | undefined;
  /** Decimal text, since a seed may exceed what a JSON number holds. */
  readonly seed: string;
  /** Of opening the model, of quantizing on the way what the cache did not have, and of making the pictures. */
  readonly loadSeconds: number;
  readonly quantizeSeconds: number;
  readonly seconds: number;
  readonly phases: readonly PhaseReport[];
  readonly stepSeconds: readonly number[];
  /** Bytes of each part's weights on the disk, as they are used. */
  readonly weightBytes: Readonly<Record<string, number>>;
  readonly peakResidentBytes: number | undefined;
  readonly peakAnonymousBytes: number | undefined;
  readonly predictedPeakBytes: number | undefined;
  /** Of the first picture; the others differ in imageIndex. */
  readonly recipe: Recipe | undefined;
  readonly warnings: readonly string[];
}

/** What --json tells of. */
export interface Result {
  readonly files: readonly string[];
  readonly latentsFile: string | undefined;
  readonly record: RunRecord;
  readonly report: RunReport;
  readonly loadSeconds: number;
  readonly warnings: readonly string[];
}

/** Makes the object that --json prints. */
export function resultJson({ files, latentsFile, record, report, loadSeconds, warnings }: Result): ResultJson {
  const { seconds, phases, peakResidentBytes, peakAnonymousBytes, predictedPeakBytes } = report;
  const { quantizeSeconds, stepSeconds, weightBytes, images } = record;
  const memory = { peakResidentBytes, peakAnonymousBytes, predictedPeakBytes };
  const spent = { loadSeconds, quantizeSeconds, seconds, phases, stepSeconds };
  return { files, latentsFile, seed: String(report.seed), ...spent, weightBytes, ...memory, recipe: images[0]?.recipe, warnings };
}

/** A part whose weights were quantized for the run. */
export type FrozenPart = Pick<FreezeEvent, "part" | "storedBytes"> & { readonly frozenBytes: number };

/** Makes the line that ends a run: files, size, seed, seconds per phase, what was quantized, peak memory. */
export function summaryLine(
  files: readonly string[],
  images: readonly GeneratedImage[],
  report: RunReport,
  frozen: readonly FrozenPart[] = [],
): string {
  const [first] = images;
  const names = files.length === 1 ? files[0] : `${files[0]} to ${files.at(-1)}`;
  const phases = report.phases.map((phase) => phaseText(phase, first?.recipe.steps ?? 0)).join(", ");
  const peak = report.peakResidentBytes === undefined ? [] : [`peak ${bytesText(report.peakResidentBytes)}${anonymousText(report)}`];
  const quantized = frozen.map(({ part, storedBytes, frozenBytes }) => {
    return `${part} ${first?.recipe.qtypes[part] ?? ""} (${bytesText(storedBytes)} to ${bytesText(frozenBytes)})`;
  });
  const fast = first?.recipe.fast === true ? ["fast"] : [];
  return [names, `${first?.width}x${first?.height}`, `seed ${report.seed}`, phases, ...quantized, ...fast, ...peak].join("  ");
}

/** Of the resident memory, what no file backs; and what was planned. */
function anonymousText({ peakAnonymousBytes, predictedPeakBytes }: RunReport): string {
  if (peakAnonymousBytes === undefined || predictedPeakBytes === undefined) return "";
  return ` (anonymous ${bytesText(peakAnonymousBytes)}, planned ${bytesText(predictedPeakBytes)})`;
}

function phaseText({ phase, seconds }: PhaseReport, steps: number): string {
  const pace =
    phase === "denoise" && steps > 0 ? ` (${steps} ${steps === 1 ? "step" : "steps"}, ${secondsText(seconds / steps)}/step)` : "";
  return `${phase} ${secondsText(seconds)}${pace}`;
}
