/** A benchmark as a page that can be read: what was measured on what, the tables, and halftone laid beside the peer. */
import { markdownCode, markdownTable, markdownText } from "../markdown-text.ts";
import { type BenchCell, isSameWork, partQtypes, sizeText } from "./bench-cell.ts";
import { type BenchReport, type BenchRow, type BenchSummary, byWork, type PhaseSummary } from "./bench-report.ts";
import { gigabytes, peaksText, spreadText, threeDigits, toolText } from "./bench-texts.ts";
import type { Spread } from "./statistics.ts";

/** Writes the page. */
export function benchmarkMarkdown(report: BenchReport): string {
  const { recipe, rows, runs } = report;
  const { model, pipeline, steps, guidanceScale } = recipe;
  const paragraphs = [
    `# ${model}: time and memory`,
    `${pipeline}, ${distinct(rows, ({ cell }) => sizeOf(report, cell)).join(" and ")}, ${steps} ${steps === 1 ? "step" : "steps"}, guidance ${guidanceScale}, model ${recipe.modelHash.slice(0, 12)}; ${runs === 1 ? "one run" : `median of ${runs} runs (smallest to largest)`} of each row, each in a process of its own, in rounds over all rows.`,
    machineText(report),
    ...excludeText(report),
    rowTable(report),
    "Memory: peak of the whole process, seen from outside, anonymous / resident; resident counts mapped files too, which the system may drop. Latency: encode, denoise and decode, with the model open. Command: from the start of the process to its end, loading and quantizing included.",
    "## Phase by phase",
    phaseTable(report),
    "Seconds, and peaks as the tool itself saw them, anonymous / resident.",
    ...(rows.some(({ tool }) => tool === "peer") ? ["## halftone against the peer", ratioTable(report)] : []),
    "![latency](latency.svg)",
    "![peak memory](memory.svg)",
  ];
  return `${paragraphs.join("\n\n")}\n`;
}

function machineText({ machine, settings, peer }: BenchReport): string {
  const { cpu, cores, memoryBytes, instructions, node, onnxruntime, halftone, commit, uncommitted, date } = machine;
  const flags = Array.isArray(instructions) && instructions.length > 0 ? ` (${instructions.join(", ")})` : "";
  const source = commit === null ? "" : `, commit ${commit}${uncommitted === true ? " with changes" : ""}`;
  const asked = Object.entries(settings).map(([name, value]) => `${name} ${value}`);
  const versions =
    peer === null
      ? []
      : [
          `${peer.name}: ${Object.entries(peer.versions)
            .map((pair) => pair.join(" "))
            .join(", ")}`,
        ];
  const own = `halftone ${halftone}${source}, onnxruntime ${onnxruntime}, Node ${node}`;
  const parts = [`${cpu}${flags}, ${cores} cores, ${gigabytes(Number(memoryBytes))} GB; ${date}`, own, ...versions, ...asked];
  return `${parts.join("; ")}.`;
}

function excludeText({ rows }: BenchReport): string[] {
  const exclude = rows.find(({ cell }) => cell.exclude.length > 0)?.cell.exclude ?? [];
  if (exclude.length === 0) return [];
  const where = isLeavingOutSometimes(rows) ? "Not quantized in the rows that say so" : "Never quantized";
  return [`${where}: ${exclude.map(markdownCode).join(", ")}.`];
}

/** In the shape of the tables that the field publishes. */
function rowTable(report: BenchReport): string {
  const about = aboutColumns(report, "tool, dtype");
  const head = [...headsOf(about), "memory, GB", "latency, s", "s/step", "command, s", "weights, GB"];
  const rows = byWork(report.rows).flat();
  return markdownTable(
    head,
    rows.map((row) => [...cellsOf(about, row), ...(row.summary === null ? failureCells(row, 5) : figureCells(row.summary))]),
  );
}

interface Column {
  readonly head: string;
  readonly text: (row: BenchRow) => string;
}

/** What a row is, its tool last; what only some benchmarks tell apart has a column only there. */
function aboutColumns(report: BenchReport, toolHead: string): Column[] {
  const { rows } = report;
  const size: Column = { head: "size", text: ({ cell }) => sizeOf(report, cell) };
  const excluded: Column = { head: "layers left out", text: leftOut };
  return [
    ...(distinct(rows, size.text).length > 1 ? [size] : []),
    { head: "batch", text: ({ cell }) => String(cell.images) },
    { head: "transformer", text: ({ cell }) => partQtypes(cell).transformer },
    { head: "text encoder", text: ({ cell }) => partQtypes(cell).textEncoder },
    ...(isLeavingOutSometimes(rows) ? [excluded] : []),
    { head: "QKV fused", text: ({ cell }) => (cell.fuseQkv ? "yes" : "") },
    { head: toolHead, text: (row) => toolText(report, row) },
  ];
}

function headsOf(columns: readonly Column[]): string[] {
  return columns.map(({ head }) => head);
}

function cellsOf(columns: readonly Column[], row: BenchRow): string[] {
  return columns.map(({ text }) => markdownText(text(row)));
}

function sizeOf({ recipe }: BenchReport, { size }: BenchCell): string {
  return sizeText(size ?? recipe);
}

function leftOut({ cell }: BenchRow): string {
  return cell.exclude.length > 0 ? "yes" : "";
}

function isLeavingOutSometimes(rows: readonly BenchRow[]): boolean {
  const quantized = rows.filter(({ cell }) => cell.qtype !== null);
  return distinct(quantized, leftOut).length > 1;
}

function distinct(rows: readonly BenchRow[], text: (row: BenchRow) => string): string[] {
  return [...new Set(rows.map(text))];
}

/** The reason stands in the first of the columns. */
function failureCells({ failure }: BenchRow, columns: number): string[] {
  return [markdownText(failure ?? ""), ...Array.from({ length: columns - 1 }, () => "")];
}

function figureCells(summary: BenchSummary): string[] {
  const { seconds, secondsPerStep, commandSeconds, weightBytes } = summary;
  return [peaksText(summary), ...[seconds, secondsPerStep, commandSeconds].map(spreadText), gigabytes(weightBytes)];
}

const PHASES = ["encode", "denoise", "decode"];

function phaseTable(report: BenchReport): string {
  const measured = byWork(report.rows)
    .flat()
    .flatMap((row) => (row.summary === null ? [] : [{ row, summary: row.summary }]));
  const about = aboutColumns(report, "tool, dtype");
  const rows = measured.map(({ row, summary }) => [
    ...cellsOf(about, row),
    threeDigits(summary.loadSeconds.median),
    row.cell.qtype === null ? "" : threeDigits(summary.quantizeSeconds.median),
    ...PHASES.map((name) => phaseCell(summary.phases[name])),
  ]);
  return markdownTable([...headsOf(about), "load", "quantize", ...PHASES], rows);
}

function phaseCell(phase: PhaseSummary | undefined): string {
  if (phase === undefined) return "";
  const peaks = peaksText(phase);
  return `${threeDigits(phase.seconds.median)}${peaks && `, ${peaks}`}`;
}

function ratioTable(report: BenchReport): string {
  const measured = byWork(report.rows)
    .flat()
    .filter(({ summary }) => summary !== null);
  const pairs = measured
    .filter(({ tool }) => tool === "halftone")
    .flatMap((own) => measured.filter((peer) => peer.tool === "peer" && isSameWork(own.cell, peer.cell)).map((peer) => ({ own, peer })));
  if (pairs.length === 0) return "No row has a twin that could be measured.";
  const about = aboutColumns(report, "halftone");
  const head = [...headsOf(about), "peer", "s/step", "latency", "command", "anonymous", "resident"];
  const rows = pairs.map(({ own, peer }) => {
    const [a, b] = [own.summary as BenchSummary, peer.summary as BenchSummary];
    const figures = [
      ratio(a.secondsPerStep, b.secondsPerStep),
      ratio(a.seconds, b.seconds),
      ratio(a.commandSeconds, b.commandSeconds),
      ratio(a.peakAnonymousBytes, b.peakAnonymousBytes),
      ratio(a.peakResidentBytes, b.peakResidentBytes),
    ];
    return [...cellsOf(about, own), markdownText(toolText(report, peer)), ...figures];
  });
  return `Medians, halftone's divided by the peer's: below 1 halftone is faster, or takes less.\n\n${markdownTable(head, rows)}`;
}

function ratio(own: Spread | undefined, peer: Spread | undefined): string {
  return own === undefined || peer === undefined || peer.median === 0 ? "" : (own.median / peer.median).toFixed(2);
}
