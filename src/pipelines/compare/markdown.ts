/** A comparison as a page that can be read: tables of settings, layers and proposals. */
import { markdownCode, markdownTable, markdownText } from "../markdown-text.ts";
import type { CompareReport, LayerSensitivity, Measured, Proposal, Sensitivity, Variant } from "./report.ts";

/** Layers that are listed; the JSON has all. */
const LISTED_LAYERS = 15;

/** Writes the page. */
export function comparisonMarkdown(report: CompareReport): string {
  const { model, pipeline, dtype, steps, guidanceScale, height, width, prompts, variants, version } = report;
  const paragraphs = [
    `# ${model}: quantized against ${dtype}`,
    `${pipeline}, ${width} x ${height}, ${steps} steps, guidance ${guidanceScale}; halftone ${version}, model ${report.modelHash.slice(0, 12)}. Errors are relative RMS against ${dtype} at equal seeds.`,
    settingsTable(report),
    "![a row for each setting, a column for each prompt](grid.png)",
    "![relative error of the latents after each step](latents.svg)",
    ...variants.flatMap((variant) => variantSection(variant)),
    "## Prompts",
    prompts.map(({ prompt, seed }) => `- seed ${seed}: ${markdownText(prompt)}`).join("\n"),
  ];
  return `${paragraphs.join("\n\n")}\n`;
}

/** A share as a percentage with three digits. */
function percent(share: number): string {
  const value = 100 * share;
  const digits = value === 0 ? 0 : 2 - Math.floor(Math.log10(value));
  return `${value.toFixed(Math.min(6, Math.max(0, digits)))} %`;
}

function settingsTable({ dtype, reference, variants }: CompareReport): string {
  const float = ["", megabytes(reference.weightBytes), "", "", "", "", "", reference.secondsPerStep.toFixed(3)];
  const rows = variants.flatMap(({ label, measured, proposal }) => [
    [markdownCode(label), ...measuredCells(measured)],
    ...(proposal === null || proposal.layers.length === 0
      ? []
      : [[`${markdownCode(label)}, ${proposal.layers.length} float`, ...measuredCells(proposal.measured)]]),
  ]);
  const head = [
    "setting",
    "MB of weights",
    "PSNR, dB (worst)",
    "SSIM (worst)",
    "error of a prediction",
    "of the latents after step 1",
    "after the last",
    "s/step",
  ];
  return markdownTable(head, [[dtype, ...float.slice(1)], ...rows]);
}

function measuredCells(measured: Measured): string[] {
  const { similarity, pictures, latentErrors, predictionError } = measured;
  const worstPsnr = Math.min(...pictures.map(({ psnr }) => psnr ?? Number.POSITIVE_INFINITY));
  const worstSsim = Math.min(...pictures.map(({ ssim }) => ssim));
  return [
    megabytes(measured.weightBytes),
    `${decibels(similarity.psnr)} (${decibels(worstPsnr)})`,
    `${similarity.ssim.toFixed(4)} (${worstSsim.toFixed(4)})`,
    predictionError === null ? "" : percent(predictionError),
    percent(latentErrors[0] ?? 0),
    percent(latentErrors.at(-1) ?? 0),
    measured.secondsPerStep.toFixed(3),
  ];
}

function variantSection({ spec, sensitivity, proposal }: Variant): string[] {
  if (sensitivity === null) return [];
  const { layers } = sensitivity;
  const shown = layers.slice(0, LISTED_LAYERS);
  const left = layers.length > shown.length ? [`${layers.length - shown.length} more layers are in comparison.json.`] : [];
  const names = ["layer", "part", "qtype", "error alone", "saves, kB"];
  return [
    `## ${markdownCode(spec)}: layer by layer`,
    measureText(sensitivity),
    markdownTable(names, shown.map(layerCells)),
    ...left,
    ...proposalText(proposal),
  ];
}

function measureText({ measure, calls }: Sensitivity): string {
  const steps = [...new Set(calls.map(({ step }) => step))].sort((a, b) => a - b);
  const prompts = new Set(calls.map(({ prompt }) => prompt)).size;
  const where = `${steps.length === 1 ? "step" : "steps"} ${steps.join(", ")} of ${prompts === 1 ? "one prompt" : `${prompts} prompts`}`;
  return measure === "prediction"
    ? `Each layer quantized alone: relative error of the transformer's prediction, guidance applied, at ${where}.`
    : `Each layer quantized alone: relative error of the output of *its own block*, against what the block adds, at ${where}. This is not the error of the model's output, and blocks are taken as equally important.`;
}

function layerCells({ part, name, qtype, error, savedBytes }: LayerSensitivity): string[] {
  return [markdownCode(name), part, qtype, percent(error), (savedBytes / 1000).toFixed(1)];
}

function proposalText(proposal: Proposal | null): string[] {
  if (proposal === null) return [];
  const { target, layers, flags, costBytes, predictedError, measured, isReached } = proposal;
  const wanted = target.psnr === undefined ? `an error of ${percent(target.error ?? 0)} or less` : `a PSNR of ${target.psnr} dB or more`;
  if (layers.length === 0 && isReached) return [`**For ${wanted}** no layer has to stay in float.`];
  if (flags === "") return [`**For ${wanted}** every layer has to stay in float: this qtype does not reach it.`];
  return [
    `**For ${wanted}**${isReached ? "" : " (not reached)"}: ${layers.length} of the layers stay in float and cost ${megabytes(costBytes)} MB.`,
    `\`\`\`\n${flags}\n\`\`\``,
    `Error of a prediction: foreseen ${percent(predictedError)}, measured ${percent(measured.predictionError ?? 0)}; PSNR measured ${decibels(measured.similarity.psnr)} dB.`,
  ];
}

function decibels(psnr: number | null): string {
  return psnr === null || psnr === Number.POSITIVE_INFINITY ? "equal" : psnr.toFixed(1);
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(2);
}
