/** The plan of a request's memory for people: a table of the parts and a bar for each phase. */
import type { ModelPlan, PartPlan, PhasePlan } from "../index.ts";
import { table } from "./table.ts";
import { bytesText } from "./units.ts";

/** Letters of the longest bar. */
const BAR = 40;

/** What a request takes, and whether it fits. */
export function planReport(plan: ModelPlan): string {
  const { height, width, images, guidance, maxBytes, fits, hint } = plan;
  const title = `${images} x ${width} x ${height} pixels, guidance ${guidance}, in ${bytesText(maxBytes)}: ${fits ? "fits" : "does not fit"}`;
  const rows = plan.phases.flatMap(({ phase, parts, decodeWay }) => parts.map((part) => partRow(phase, part, decodeWay)));
  const parts = table([["phase", "part", "weights, in files", "held", "peak beside the process"], ...rows], [4]);
  const most = Math.max(plan.budgetBytes, ...plan.phases.map(({ peakBytes }) => peakBytes));
  const bars = table(
    plan.phases.map((phase) => [phase.phase, bar(phase, most), bytesText(phase.peakBytes)]),
    [2],
  );
  return `${title}\n\n${parts}\nanonymous memory at its highest (\u2588 the phase, \u2593 the process before it)\n${bars}${hint === undefined ? "" : `hint: ${hint}\n`}`;
}

function partRow(
  phase: string,
  { part, weightBytes, hold, segmentsPerProgram, peakBytes }: PartPlan,
  decodeWay: PhasePlan["decodeWay"],
): string[] {
  const weights = Object.entries(weightBytes).sort(([, a], [, b]) => b - a);
  if (decodeWay?.kind === "strips") {
    const strips = `in strips of ${decodeWay.rows} rows, maps in ${decodeWay.maps === "file" ? "a file" : "memory"}`;
    return [phase, part, weights.map(([name, bytes]) => `${name} ${bytesText(bytes)}`).join(", "), strips, bytesText(peakBytes)];
  }
  const held =
    hold === "resident" ? "resident" : `streamed, ${segmentsPerProgram} ${segmentsPerProgram === 1 ? "segment" : "segments"} at a time`;
  return [phase, part, weights.map(([name, bytes]) => `${name} ${bytesText(bytes)}`).join(", "), held, bytesText(peakBytes)];
}

function bar({ peakBytes, processBytes }: PhasePlan, most: number): string {
  const length = Math.round((BAR * peakBytes) / most);
  const process = Math.round((BAR * processBytes) / most);
  return `${"\u2593".repeat(process)}${"\u2588".repeat(Math.max(0, length - process))}`;
}
