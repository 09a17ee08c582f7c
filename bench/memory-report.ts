/** The tables and the plot of bench/memory.ts. */
import { type BarGroup, barPlot } from "../src/image/bar-plot.ts";
import type { MemoryResult } from "./memory.ts";

/** Markdown: a line for each phase of each run. */
export function memoryTable(results: readonly MemoryResult[]): string {
  const lines = results.flatMap(({ row, phases, cgroup, exitCode }) =>
    phases.map(({ phase, seconds, predictedPeakBytes, peakAnonymousBytes, peakResidentBytes }, i) => {
      const about =
        i === 0
          ? [row.name, `${gigabytes(row.budgetBytes)}${exitCode === 0 ? "" : " (failed)"}`, gigabytes(cgroup.maxBytes)]
          : ["", "", ""];
      const off = peakAnonymousBytes && predictedPeakBytes ? `${Math.round((predictedPeakBytes / peakAnonymousBytes - 1) * 100)} %` : "";
      const sizes = [predictedPeakBytes, peakAnonymousBytes].map(gigabytes);
      return markdownLine([...about, phase, ...sizes, off, gigabytes(peakResidentBytes), seconds.toFixed(0)]);
    }),
  );
  const head = ["run", "limit, GB", "cgroup's peak", "phase", "planned, GB", "anonymous", "off by", "resident", "seconds"];
  return [markdownLine(head), markdownLine(head.map(() => "---")), ...lines].join("\n");
}

/** Markdown: each run that has a twin beside it, whole processes and their phases. */
export function twinTable(results: readonly MemoryResult[]): string {
  const lines = results.flatMap((result) => {
    const { row, twin } = result;
    if (twin === undefined) return [];
    const halftone = [row.name, "halftone", gigabytes(result.peakAnonymousBytes), gigabytes(result.peakResidentBytes)];
    const peaks = ["", "diffusers", gigabytes(twin.peakAnonymousBytes), gigabytes(twin.peakResidentBytes)];
    const { phases = [], quantizeSeconds } = twin.run ?? {};
    const end = twin.failure === undefined ? [`${quantizeSeconds?.toFixed(0)} s`, ...phases.map(phaseCell)] : [twin.failure, "", "", ""];
    return [markdownLine([...halftone, "", ...result.phases.map(phaseCell)]), markdownLine([...peaks, ...end])];
  });
  const head = ["run", "tool", "anonymous, GB", "resident, GB", "quantize", "encode", "denoise", "decode"];
  return [markdownLine(head), markdownLine(head.map(() => "---")), ...lines].join("\n");
}

/** Bars of planned and measured anonymous memory for each phase, beside the twin's where there is one. */
export function memoryPlot(results: readonly MemoryResult[]): string {
  const groups = results.flatMap(({ row, phases, twin }) =>
    phases.map(({ phase, predictedPeakBytes, peakAnonymousBytes }): BarGroup => {
      const twinBytes = twin?.run?.phases.find((candidate) => candidate.phase === phase)?.peakAnonymousBytes;
      const bar = (series: string, bytes: number) => ({ series, value: bytes / 1e9, note: gigabytes(bytes) });
      return {
        label: row.name,
        detail: `${phase}, limit ${row.budgetBytes / 1e9} GB`,
        bars: [
          bar("planned", predictedPeakBytes ?? 0),
          bar("measured", peakAnonymousBytes ?? 0),
          ...(typeof twinBytes === "number" ? [bar("diffusers + Quanto, measured", twinBytes)] : []),
        ],
      };
    }),
  );
  return barPlot(groups, { title: "Planned and measured memory of each phase", axis: "anonymous memory, GB" });
}

function phaseCell({ seconds, peakAnonymousBytes }: { seconds: number; peakAnonymousBytes?: number | null | undefined }): string {
  return `${seconds.toFixed(0)} s, ${gigabytes(peakAnonymousBytes)}`;
}

function markdownLine(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

function gigabytes(bytes: number | null | undefined): string {
  return bytes === undefined || bytes === null ? "" : (bytes / 1e9).toFixed(2);
}
