/**
 * The quality meter of quantization: the same prompts and seeds with float weights and with each setting, and what the difference is.
 *
 * The reference is made first and remembered; then one setting after the other is opened, frozen, measured and closed, so that no two
 * pipelines are open at a time.
 */
import { throwIfCancelled } from "../../checkpoint/cancel.ts";
import { StagedFolder } from "../../checkpoint/staged-folder-node.ts";
import type { Pixels } from "../../image/pixels.ts";
import { version } from "../../version.ts";
import type { PipelineEvent } from "../events.ts";
import { type OpenedPipeline, openPipeline } from "../open-pipeline.ts";
import { type CompareOptions, checkCompareOptions, loadOptionsOf } from "./compare-options.ts";
import { comparisonFiles } from "./comparison-files.ts";
import { comparisonGrid, type GridRow, shrunk } from "./comparison-grid.ts";
import { measureReference, type Reference } from "./reference.ts";
import type { CompareEvent, CompareReport, Variant } from "./report.ts";
import { measureVariant } from "./variant.ts";

/** A finished comparison. */
export interface Comparison {
  readonly report: CompareReport;
  /** All pictures with labels: a row for the reference, each setting and each proposal, a column for each prompt. */
  readonly grid: Pixels;
  /** Full name of the folder that was written. */
  readonly output: string | undefined;
}

/**
 * Compares settings of quantization with float weights.
 *
 * Errors: UsageError for options that do not fit or an output that is taken; those of opening, quantizing and generating; CancelledError. The
 * output is whole or not there.
 */
export async function compareQuantization(idOrFolder: string, options: CompareOptions): Promise<Comparison> {
  checkCompareOptions(options);
  const { output, force } = options;
  if (output === undefined) return { ...(await compare(idOrFolder, options)), output };
  const kind = { name: "a comparison", files: ["comparison.json"] };
  const staged = await StagedFolder.create(output, { force, kind, sources: [idOrFolder] });
  try {
    const found = await compare(idOrFolder, options);
    for (const [name, bytes] of comparisonFiles(found.report, found.grid)) await staged.writeBytes(name, bytes);
    throwIfCancelled(options.signal);
    await staged.finish();
    return { ...found, output: staged.target };
  } catch (error) {
    await staged.abort();
    throw error;
  }
}

async function compare(idOrFolder: string, options: CompareOptions): Promise<Omit<Comparison, "output">> {
  const { prompts, qtypes, include, exclude } = options;
  const warnings: string[] = [];
  const tell = (event: PipelineEvent | CompareEvent) => {
    if (event.type !== "warning") options.onEvent?.(event);
    else if (!warnings.includes(event.message)) {
      // Every pipeline says the same again.
      warnings.push(event.message);
      options.onEvent?.(event);
    }
  };
  const listener = (setting: string) => {
    const onWork = (work: CompareEvent["work"], done: number, total: number) => tell({ type: "compare", setting, work, done, total });
    return { onEvent: tell, onWork, onPicture: (done: number, total: number) => onWork("pictures", done, total) };
  };
  const open = <T>(use: (opened: OpenedPipeline) => Promise<T>) => withPipeline(idOrFolder, options, tell, use);

  const reference = await open((opened) => measureReference(opened, options, listener(options.dtype ?? "float32")));
  const rows: GridRow[] = [{ label: reference.recipe.dtype, pictures: shrunk(reference.pictures, prompts.length) }];
  const variants: Variant[] = [];
  const settings = qtypes.flatMap((spec) =>
    (options.fast === true ? [false, true] : [false]).map((fast) => ({
      spec,
      include,
      exclude,
      fast,
      label: fast ? `${spec} --fast` : spec,
    })),
  );
  for (const setting of settings) {
    const { label } = setting;
    const found = await open((opened) => measureVariant(opened, setting, reference, options, listener(label)));
    variants.push(found.variant);
    rows.push({ label, pictures: shrunk(found.pictures, prompts.length) });
    const kept = found.variant.proposal?.layers.length ?? 0;
    if (found.proposed !== undefined && kept > 0) {
      rows.push({ label: `${label}, ${kept} float`, pictures: shrunk(found.proposed, prompts.length) });
    }
  }
  return { report: reportOf(reference, variants, warnings), grid: comparisonGrid(prompts, rows) };
}

async function withPipeline<T>(
  idOrFolder: string,
  options: CompareOptions,
  onEvent: (event: PipelineEvent) => void,
  use: (opened: OpenedPipeline) => Promise<T>,
): Promise<T> {
  const opened = await openPipeline(idOrFolder, { ...loadOptionsOf(options), onEvent });
  try {
    return await use(opened);
  } finally {
    for (const model of opened.own) await model.dispose();
  }
}

function reportOf({ requests, recipe, report }: Reference, variants: readonly Variant[], warnings: readonly string[]): CompareReport {
  const { model, modelHash, pipeline, scheduler, dtype, steps, guidanceScale, height, width } = recipe;
  const prompts = requests.map(({ prompt, seed }) => ({ prompt, seed: String(seed) }));
  const settings = { model, modelHash, pipeline, scheduler, dtype, steps, guidanceScale, height, width };
  return { version, ...settings, prompts, reference: report, variants, warnings };
}
