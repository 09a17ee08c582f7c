/**
 * A sweep: one step of decoding by strips, which goes over a map from top to bottom and makes another, and the strips that it is cut into.
 *
 * Every strip reads the rows that it makes and a halo of rows above and below, a row for each 3x3 convolution; at the picture's own borders
 * there is no halo, and the convolution pads instead.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import { Graph, type Value } from "../../graph/graph.ts";
import type { State } from "../../graph/segment.ts";
import type { GroupStatisticsValues } from "../../nn/norm.ts";
import type { ComputeDType } from "../../tensor/dtype.ts";
import type { MapShape } from "../../tensor/tensor.ts";
import type { Rows } from "./blocks.ts";
import type { UpsampledRows } from "./upsample-rows.ts";

/** The map that a sweep reads. */
export interface SweepSource {
  readonly map: string;
  readonly shape: MapShape;
  /** Rows beyond those that are made, counted at the size that is made. */
  readonly halo: number;
  /** The sweep begins by doubling the map's size. */
  readonly isUpsampled: boolean;
}

/** What the graph of a strip is given. */
export interface StripInputs {
  /** Rows of the source. */
  readonly x: Value;
  /** The rows of a second map that are made. */
  readonly beside: Value;
  /** Tables by name. */
  readonly table: (name: string) => Value;
  /** Statistics by name. */
  readonly statistics: (name: string) => GroupStatisticsValues;
}

/** One pass over the rows of a picture. */
export interface Sweep {
  /** The checkpoint's own path of the layer. */
  readonly name: string;
  /** Size of what it makes; channels are those of the widest value on the way. */
  readonly size: MapShape;
  /** Rows of a strip. */
  readonly rows: number;
  /** Strips differ by where they lie, beyond their form: each has a graph of its own. */
  readonly isPlaced?: true;
  readonly source?: SweepSource;
  /** A map of which the rows that are made are read. */
  readonly beside?: string;
  /** Maps that results are written to, by the result's name. */
  readonly writes: Readonly<Record<string, string>>;
  /** Tables that results are written to. */
  readonly fills?: Readonly<Record<string, string>>;
  /** Tables that every strip is given whole. */
  readonly uses?: readonly string[];
  /** A result whose statistics are taken, their name and the channels. */
  readonly measures?: { readonly value: string; readonly as: string; readonly channels: number } | undefined;
  /** Statistics that the norms are told: name and channels. */
  readonly statistics?: Readonly<Record<string, number>>;
  build(g: Graph, weights: Weights, inputs: StripInputs, strip: Strip): State;
}

/** Everything that a picture's decoding takes. */
export interface StripPlan {
  /** Maps that are kept from sweep to sweep, by name; "latents" comes in, "sample" goes out. */
  readonly maps: Readonly<Record<string, MapShape>>;
  /** Small tensors that are kept whole, by name. */
  readonly tables: Readonly<Record<string, readonly number[]>>;
  readonly sweeps: readonly Sweep[];
}

/** One strip of a sweep; rows are counted from the picture's top, at the size that is made unless said. */
export interface Strip extends Rows {
  /** Rows that are made: from `from` to before `to`. */
  readonly from: number;
  readonly to: number;
  /** Rows of the source, halo included. */
  readonly first: number;
  readonly end: number;
  /** The same, at the size of the map. */
  readonly readFrom: number;
  readonly readTo: number;
  readonly upsampled: UpsampledRows;
}

/** Cuts a sweep into strips; a last one of a single row is joined to its neighbour, because a halo may have two. */
export function cutStrips(sweep: Sweep): Strip[] {
  const { height } = sweep.size;
  const strips: Strip[] = [];
  for (let from = 0; from < height; ) {
    const next = Math.min(height, from + sweep.rows);
    const to = height - next < 2 ? height : next;
    strips.push(placeStrip(sweep, from, to));
    from = to;
  }
  return strips;
}

/** Strips of a sweep that have the same form run the same graph. */
export function stripForm({ isPlaced }: Sweep, { from, to, first, end, readFrom, readTo, top, bottom, upsampled }: Strip): string {
  return JSON.stringify([to - from, from - first, end - to, readTo - readFrom, top, bottom, upsampled, isPlaced ? from : 0]);
}

/** Builds the graph of a strip; its outputs are what the sweep writes, fills and measures. */
export function buildStrip(plan: StripPlan, sweep: Sweep, strip: Strip, weights: Weights, dtype: ComputeDType): Graph {
  const g = new Graph(dtype);
  const picture = ({ channels, width }: MapShape, rows: number) => [1, channels, rows, width];
  const x = sweep.source === undefined ? g.input("start", [1]) : g.input("x", picture(sweep.source.shape, strip.readTo - strip.readFrom));
  const besideShape = sweep.beside === undefined ? undefined : plan.maps[sweep.beside];
  const beside = besideShape === undefined ? x : g.input("beside", picture(besideShape, strip.to - strip.from));
  const tables = new Map(sweep.uses?.map((name) => [name, g.input(name, plan.tables[name] as readonly number[])]));
  const statistics = new Map(
    Object.entries(sweep.statistics ?? {}).map(([name, channels]) => {
      return [name, { mean: g.input(`${name}.mean`, [channels]), variance: g.input(`${name}.variance`, [channels]) }];
    }),
  );
  const inputs: StripInputs = {
    x,
    beside,
    table: (name) => tables.get(name) as Value,
    statistics: (name) => statistics.get(name) as GroupStatisticsValues,
  };
  const state = sweep.build(g, weights, inputs, strip);
  for (const name of resultNames(sweep)) g.output(name, state[name] as Value);
  return g;
}

/** Names of all results of a sweep. */
export function resultNames({ writes, fills = {}, measures }: Sweep): string[] {
  return [...new Set([...Object.keys(writes), ...Object.keys(fills), ...(measures === undefined ? [] : [measures.value])])];
}

function placeStrip({ size: { height }, source }: Sweep, from: number, to: number): Strip {
  const halo = source?.halo ?? 0;
  const first = Math.max(0, from - halo);
  const end = Math.min(height, to + halo);
  const common = { from, to, first, end, top: from === 0, bottom: to === height };
  if (!source?.isUpsampled)
    return { ...common, readFrom: first, readTo: end, upsampled: { padTop: 0, padBottom: 0, skip: 0, rows: end - first } };
  // Rows i and i + 1 of the map make the rows 2i + 1 and 2i + 2.
  const firstPair = Math.floor((first - 1) / 2);
  const endOfPairs = Math.floor((end - 2) / 2) + 2;
  return {
    ...common,
    readFrom: Math.max(0, firstPair),
    readTo: Math.min(source.shape.height, endOfPairs),
    upsampled: {
      padTop: firstPair < 0 ? 1 : 0,
      padBottom: endOfPairs > source.shape.height ? 1 : 0,
      skip: first - (2 * firstPair + 1),
      rows: end - first,
    },
  };
}
