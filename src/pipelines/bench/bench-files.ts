/** The files of a benchmark: bench.json for programs, bench.md for people, and two plots. */
import { barPlot } from "../../image/bar-plot.ts";
import { type BenchCell, batchText, qtypeText } from "./bench-cell.ts";
import { benchmarkMarkdown } from "./bench-markdown.ts";
import { type BenchReport, type BenchRow, type BenchSummary, byWork } from "./bench-report.ts";
import { peaksText, threeDigits, toolText } from "./bench-texts.ts";

/** Names and texts. */
export function benchmarkFiles(report: BenchReport): [name: string, text: string][] {
  return [
    ["bench.json", `${JSON.stringify(report, undefined, 2)}\n`],
    ["bench.md", benchmarkMarkdown(report)],
    ["latency.svg", latencyPlot(report)],
    ["memory.svg", memoryPlot(report)],
  ];
}

function latencyPlot(report: BenchReport): string {
  return plot(report, { title: "Latency: encode, denoise and decode", axis: "seconds, median of the runs" }, ({ seconds }) => ({
    value: seconds.median,
    range: [seconds.min, seconds.max],
    note: `${threeDigits(seconds.median)} s`,
  }));
}

function memoryPlot(report: BenchReport): string {
  const texts = { title: "Peak memory: anonymous, and paler what files back", axis: "GB, median of the runs" };
  return plot(report, texts, ({ peakAnonymousBytes, peakResidentBytes }) => {
    const [anonymous, resident] = [peakAnonymousBytes, peakResidentBytes].map((peak) =>
      peak === undefined ? undefined : peak.median / 1e9,
    );
    const note = `${peaksText({ peakAnonymousBytes, peakResidentBytes })} GB`;
    return { value: anonymous ?? resident, outer: resident, note };
  });
}

/** A group for each work, in it a bar for each way of each tool. */
function plot(
  report: BenchReport,
  texts: { readonly title: string; readonly axis: string },
  figures: (summary: BenchSummary) => { value: number | undefined; outer?: number | undefined; range?: [number, number]; note: string },
): string {
  const bar = (row: BenchRow) => {
    const series = toolText(report, row);
    return { series, ...(row.summary === null ? { value: undefined, note: row.failure ?? "" } : figures(row.summary)) };
  };
  const groups = byWork(report.rows).map((rows) => {
    const [{ cell }] = rows;
    return { label: qtypeText(cell), detail: detailText(cell), bars: rows.map(bar) };
  });
  return barPlot(groups, texts);
}

/** Under the qtype, where there is little room. */
function detailText(cell: BenchCell): string {
  return `${cell.exclude.length === 0 ? "" : "layers left out, "}${batchText(cell)}`;
}
