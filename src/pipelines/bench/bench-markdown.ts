/** A benchmark as a page that can be read: what was measured on what, the tables, and halftone laid beside the peer. */
import { isSameWork, NOT_QUANTIZED, partQtypes } from "./bench-cell.ts";
import { type BenchReport, type BenchRow, type BenchSummary, byWork } from "./bench-report.ts";
import { gigabytes, spreadText, threeDigits, toolText } from "./bench-texts.ts";
import type { Spread } from "./statistics.ts";

/** Writes the page. */
export function benchmarkMarkdown(report: BenchReport): string {
  const { recipe, rows, runs } = report;
  const { model, pipeline, width, height, steps, guidanceScale } = recipe;
  const paragraphs = [
    `# ${model}: time and memory`,
    `${pipeline}, ${width} x ${height}, ${steps} ${steps === 1 ? "step" : "steps"}, guidance ${guidanceScale}, model ${recipe.modelHash.slice(0, 12)}; ${runs === 1 ? "one run" : `median of ${runs} runs (smallest to largest)`} of each row, each in a process of its own, in rounds over all rows.`,
    machineText(report),
    ...excludeText(report),
    rowTable(report),
    "Memory: peak of the whole process, anonymous / resident; resident counts mapped files too, which the system may drop. Latency: encode, denoise and decode, with the model open. Command: from the start of the process to its end, loading and quantizing included.",
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
  return exclude.length === 0 ? [] : [`Never quantized: ${exclude.map(code).join(", ")}.`];
}

const PHASES = ["encode", "denoise", "decode"];

function rowTable(report: BenchReport): string {
  const head = ["batch", "transformer", "text encoder", "QKV fused", "tool, dtype", "memory, GB", "latency, s", "s/step"];
  const phases = ["load", "quantize", ...PHASES, "command, s", "weights, GB"];
  return table(
    [...head, ...phases],
    byWork(report.rows)
      .flat()
      .map((row) => rowCells(report, row)),
  );
}

function rowCells(report: BenchReport, row: BenchRow): string[] {
  const { cell, summary, failure } = row;
  const { transformer, textEncoder } = partQtypes(cell);
  const qtypes = [transformer, textEncoder].map((text) => (text === NOT_QUANTIZED ? text : escaped(text)));
  const about = [String(cell.images), ...qtypes, cell.fuseQkv ? "yes" : "", escaped(toolText(report, row))];
  if (summary === null) return [...about, escaped(failure ?? ""), ...Array.from({ length: 4 + PHASES.length + 2 }, () => "")];
  const memory = `${gigabytes(summary.peakAnonymousBytes?.median)} / ${gigabytes(summary.peakResidentBytes?.median)}`;
  return [
    ...about,
    memory,
    spreadText(summary.seconds),
    spreadText(summary.secondsPerStep),
    middle(summary.loadSeconds),
    cell.qtype === null ? "" : middle(summary.quantizeSeconds),
    ...PHASES.map((phase) => middle(summary.phaseSeconds[phase])),
    spreadText(summary.commandSeconds),
    gigabytes(summary.weightBytes),
  ];
}

function ratioTable(report: BenchReport): string {
  const measured = byWork(report.rows)
    .flat()
    .filter(({ summary }) => summary !== null);
  const pairs = measured
    .filter(({ tool }) => tool === "halftone")
    .flatMap((own) => measured.filter((peer) => peer.tool === "peer" && isSameWork(own.cell, peer.cell)).map((peer) => ({ own, peer })));
  if (pairs.length === 0) return "No row has a twin that could be measured.";
  const head = [
    "batch",
    "transformer",
    "text encoder",
    "QKV fused",
    "halftone",
    "peer",
    "s/step",
    "latency",
    "command",
    "anonymous",
    "resident",
  ];
  const rows = pairs.map(({ own, peer }) => {
    const [a, b] = [own.summary as BenchSummary, peer.summary as BenchSummary];
    const figures = [
      ratio(a.secondsPerStep, b.secondsPerStep),
      ratio(a.seconds, b.seconds),
      ratio(a.commandSeconds, b.commandSeconds),
      ratio(a.peakAnonymousBytes, b.peakAnonymousBytes),
      ratio(a.peakResidentBytes, b.peakResidentBytes),
    ];
    const about = rowCells(report, own).slice(0, 5);
    return [...about, escaped(toolText(report, peer)), ...figures];
  });
  return `Medians, halftone's divided by the peer's: below 1 halftone is faster, or takes less.\n\n${table(head, rows)}`;
}

function ratio(own: Spread | undefined, peer: Spread | undefined): string {
  return own === undefined || peer === undefined || peer.median === 0 ? "" : (own.median / peer.median).toFixed(2);
}

function middle(spread: Spread | undefined): string {
  return spread === undefined ? "" : threeDigits(spread.median);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function code(text: string): string {
  return `\`${text.replaceAll("|", "\\|").replaceAll("`", "'")}\``;
}

/** What would be markup in a table; text encoders' underscores would be too. */
function escaped(text: string): string {
  return text.replace(/[\\`*_<>[\]|]/g, "\\$&").replace(/\s+/g, " ");
}
