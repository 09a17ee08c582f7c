/** The table and the plot of bench/memory.ts. */
import type { MemoryResult } from "./memory.ts";

/** Markdown: a line for each phase of each run. */
export function memoryTable(results: readonly MemoryResult[]): string {
  const gigabytes = (bytes: number | undefined) => (bytes === undefined ? "" : (bytes / 1e9).toFixed(2));
  const lines = results.flatMap(({ row, phases, cgroup, exitCode }) =>
    phases.map(({ phase, seconds, predictedPeakBytes, peakAnonymousBytes, peakResidentBytes }, i) => {
      const about =
        i === 0
          ? [row.name, `${gigabytes(row.budgetBytes)}${exitCode === 0 ? "" : " (failed)"}`, gigabytes(cgroup.maxBytes)]
          : ["", "", ""];
      const off = peakAnonymousBytes && predictedPeakBytes ? `${Math.round((predictedPeakBytes / peakAnonymousBytes - 1) * 100)} %` : "";
      const sizes = [predictedPeakBytes, peakAnonymousBytes].map(gigabytes);
      return `| ${[...about, phase, ...sizes, off, gigabytes(peakResidentBytes), seconds.toFixed(0)].join(" | ")} |`;
    }),
  );
  const head =
    "| run | limit, GB | cgroup's peak | phase | planned, GB | anonymous | off by | resident | seconds |\n|---|---|---|---|---|---|---|---|---|";
  return [head, ...lines].join("\n");
}

const [WIDTH, ROW, LEFT] = [720, 22, 190];

/** Bars of planned and measured anonymous memory for each phase, and the limit of each run. */
export function memoryPlot(results: readonly MemoryResult[]): string {
  const bars = results.flatMap(({ row, phases }) => phases.map((phase) => ({ row, phase })));
  const most = Math.max(1, ...results.map(({ row }) => row.budgetBytes));
  const x = (bytes: number | undefined) => ((WIDTH - LEFT - 60) * (bytes ?? 0)) / most;
  const lines = bars.map(({ row, phase }, i) => {
    const y = 30 + i * ROW;
    const label = `<text x="${LEFT - 8}" y="${y + 12}" text-anchor="end">${row.name} ${phase.phase}</text>`;
    const planned = `<rect x="${LEFT}" y="${y}" width="${x(phase.predictedPeakBytes)}" height="7" fill="#9bb8d3"/>`;
    const measured = `<rect x="${LEFT}" y="${y + 7}" width="${x(phase.peakAnonymousBytes)}" height="7" fill="#2b5c8a"/>`;
    const limit = `<rect x="${LEFT + x(row.budgetBytes)}" y="${y - 2}" width="2" height="18" fill="#c0392b"/>`;
    return label + planned + measured + limit;
  });
  const title = `<text x="${LEFT}" y="18">planned (light), measured (dark) anonymous memory; limit (red), ${(most / 1e9).toFixed(1)} GB at most</text>`;
  const height = 40 + bars.length * ROW;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11"><title>Planned and measured memory</title>${title}${lines.join("")}</svg>\n`;
}
