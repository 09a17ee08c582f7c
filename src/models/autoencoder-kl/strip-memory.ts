/** What decoding by strips holds at each moment, from the plan alone: the decoder takes and gives back by it, and a prediction adds it up. */
import { elementCount, type MapShape } from "../../tensor/tensor.ts";
import { cutStrips, type Strip, type StripPlan, type Sweep } from "./strip.ts";

/** Numbers that are held during a sweep. */
export interface SweepFloats {
  /** Maps that were written before or are now, and are read now or later. */
  readonly maps: number;
  /** The same of tables, and of those that attention lays out anew. */
  readonly tables: number;
  /** Rows of the largest strip, before and after. */
  readonly rows: number;
}

/** The sweeps between which each map and table is held: numbers of the first that makes and the last that reads it. */
export function lifetimes({ sweeps }: StripPlan): Map<string, { first: number; last: number }> {
  const found = new Map([["latents", { first: 0, last: 0 }]]);
  for (const [i, { source, beside, writes, fills = {}, uses = [] }] of sweeps.entries()) {
    const names = [source?.map, beside, ...Object.values(writes), ...Object.values(fills), ...uses];
    for (const name of names) if (name !== undefined) found.set(name, { first: found.get(name)?.first ?? i, last: i });
  }
  return found.set("sample", { first: found.get("sample")?.first ?? 0, last: sweeps.length });
}

/** Numbers of each row buffer of a sweep: what a strip reads ("x", "beside") and what it makes. */
export function rowFloats(plan: StripPlan, sweep: Sweep): Record<string, number> {
  const strips = cutStrips(sweep);
  const most = (rowsOf: (strip: Strip) => number) => Math.max(...strips.map(rowsOf));
  const own = most(({ from, to }) => to - from);
  const perRow = ({ channels, width }: MapShape) => channels * width;
  const { source, beside, writes, measures, size } = sweep;
  const each: Record<string, number> = {};
  if (source !== undefined) each.x = perRow(source.shape) * most(({ readFrom, readTo }) => readTo - readFrom);
  if (beside !== undefined) each.beside = own * perRow(plan.maps[beside] as MapShape);
  for (const [value, map] of Object.entries(writes)) each[resultKey(value)] = own * perRow(plan.maps[map] as MapShape);
  if (measures !== undefined) each[resultKey(measures.value)] = own * measures.channels * size.width;
  return each;
}

/** The name of a result's row buffer; inputs and results may have the same name. */
export function resultKey(result: string): string {
  return `> ${result}`;
}

/** What is held during each sweep. */
export function sweepFloats(plan: StripPlan): SweepFloats[] {
  const lives = lifetimes(plan);
  const mapSizes = Object.entries(plan.maps).map(([name, { channels, height, width }]) => [name, channels * height * width] as const);
  const tableSizes = Object.entries(plan.tables).map(([name, shape]) => [name, elementCount(shape)] as const);
  return plan.sweeps.map((sweep, i) => {
    const held = (sizes: readonly (readonly [string, number])[]) => {
      const alive = sizes.filter(([name]) => (lives.get(name)?.first ?? 0) <= i && i <= (lives.get(name)?.last ?? -1));
      return sum(alive.map(([, floats]) => floats));
    };
    const rows = sum(Object.values(rowFloats(plan, sweep)));
    const anew = sweep.source?.isUpsampled ? [] : (sweep.uses ?? []);
    const tables = held(tableSizes) + sum(anew.map((name) => elementCount(plan.tables[name] as readonly number[])));
    return { maps: held(mapSizes), tables, rows };
  });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
