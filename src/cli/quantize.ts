/** halftone quantize: a float checkpoint in, a quantized one out. */
import type { ComputeDType, QuantizeCheckpointOptions, QuantizeReport } from "../index.ts";
import { printResult } from "./print-result.ts";
import { createProgress } from "./progress.ts";
import type { Surroundings } from "./surroundings.ts";
import { bytesText, secondsText, visibleText } from "./units.ts";

/** Flags of `halftone quantize`. */
export interface QuantizeFlags {
  readonly qtype: string;
  readonly output: string;
  readonly variant?: string;
  readonly revision?: string;
  readonly offline?: boolean;
  readonly dtype?: ComputeDType;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly optimizer?: QuantizeCheckpointOptions["optimizer"];
  readonly layout?: QuantizeCheckpointOptions["layout"];
  readonly force?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Runs the command; errors as the library's. */
export async function quantizeModel(model: string, flags: QuantizeFlags, { library, terminal, signal }: Surroundings): Promise<void> {
  const { offline, json, quiet, ...options } = flags;
  const progress = await createProgress(terminal, quiet === true);
  const warnings: string[] = [];
  const report = await library
    .quantizeCheckpoint(model, {
      ...options,
      localFilesOnly: offline,
      signal,
      onEvent(event) {
        if (event.type === "warning") {
          warnings.push(event.message);
          terminal.stderr.write(`warning: ${visibleText(event.message)}\n`);
        }
        progress.show(event);
      },
    })
    .finally(() => progress.stop());
  printResult(terminal, { json, quiet }, { object: { ...report, warnings }, summary: `${summary(report)}\n`, names: [flags.output] });
}

/** The folder, bytes before and after of every part, peak memory, seconds. */
function summary({ output, parts, seconds, peakResidentBytes }: QuantizeReport): string {
  const texts = parts.map(({ name, qtypes, floatLayers, storedBytes, savedBytes }) => {
    const kinds = Object.entries(qtypes).map(([qtype, layers]) => (Object.keys(qtypes).length === 1 ? qtype : `${layers} ${qtype}`));
    const left = floatLayers === 0 ? "" : ` (${floatLayers} ${floatLayers === 1 ? "layer" : "layers"} float)`;
    return `${name} ${kinds.join(" + ")}${left} ${bytesText(storedBytes)} -> ${bytesText(savedBytes)}`;
  });
  const peak = peakResidentBytes === undefined ? [] : [`peak ${bytesText(peakResidentBytes)}`];
  return [output, ...texts, ...peak, secondsText(seconds)].join("  ");
}
