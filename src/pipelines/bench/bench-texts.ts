/** Figures as the tables and plots of a benchmark write them. */
import { wayText } from "./bench-cell.ts";
import type { BenchReport, BenchRow, BenchSummary } from "./bench-report.ts";
import type { Spread } from "./statistics.ts";

/** "1.20 (1.15 to 1.31)", the median alone where all runs are alike; empty where there is none. */
export function spreadText(spread: Spread | undefined): string {
  if (spread === undefined) return "";
  const { median, min, max } = spread;
  const [middle, low, high] = [median, min, max].map(threeDigits);
  return low === high ? `${middle}` : `${middle} (${low} to ${high})`;
}

/** Three digits that count, and no more than four behind the point. */
export function threeDigits(value: number): string {
  const digits = value >= 99.95 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : value >= 0.09995 ? 3 : 4;
  return value.toFixed(digits);
}

/** Bytes in GB, three digits behind the point as the tables of the field have it; empty where unknown. */
export function gigabytes(bytes: number | undefined): string {
  return bytes === undefined ? "" : (bytes / 1e9).toFixed(3);
}

/** "halftone float32", "diffusers bfloat16". */
export function toolText({ peer }: Pick<BenchReport, "peer">, { tool, cell }: Pick<BenchRow, "tool" | "cell">): string {
  return `${tool === "halftone" ? tool : (peer?.name ?? tool)} ${wayText(cell)}`;
}

/** "0.45 / 1.20": the medians of anonymous and of resident peaks, "-" for the one that nobody told; "" where both are missing. */
export function peaksText({
  peakAnonymousBytes,
  peakResidentBytes,
}: Pick<BenchSummary, "peakAnonymousBytes" | "peakResidentBytes">): string {
  if (peakAnonymousBytes === undefined && peakResidentBytes === undefined) return "";
  return [peakAnonymousBytes, peakResidentBytes].map((peak) => (peak === undefined ? "-" : gigabytes(peak.median))).join(" / ");
}
