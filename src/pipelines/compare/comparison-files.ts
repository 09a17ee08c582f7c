/** The files of a comparison: grid.png, latents.svg, comparison.json for programs and comparison.md for people. */
import { linePlot } from "../../image/line-plot.ts";
import type { Pixels } from "../../image/pixels.ts";
import { encodePng } from "../../image/png.ts";
import { comparisonMarkdown } from "./markdown.ts";
import type { CompareReport } from "./report.ts";

/** Names and bytes. */
export function comparisonFiles(report: CompareReport, grid: Pixels): [name: string, bytes: Uint8Array][] {
  const bytes = (text: string) => new TextEncoder().encode(text);
  return [
    ["grid.png", encodePng(grid)],
    ["latents.svg", bytes(latentErrorPlot(report))],
    ["comparison.json", bytes(`${JSON.stringify(report, undefined, 2)}\n`)],
    ["comparison.md", bytes(comparisonMarkdown(report))],
  ];
}

/** The error of the latents after each step, a curve for each setting and proposal. */
function latentErrorPlot({ variants }: CompareReport): string {
  const curves = variants.flatMap(({ label, measured, proposal }) => [
    { label, values: measured.latentErrors },
    ...(proposal === null || proposal.layers.length === 0
      ? []
      : [{ label: `${label}, ${proposal.layers.length} float`, values: proposal.measured.latentErrors }]),
  ]);
  return linePlot(curves, { title: "relative error of the latents", x: "step" });
}
