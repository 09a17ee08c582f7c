/**
 * AutoencoderKL's decoder as sweeps over strips of rows, with the same result as the whole decoder: every GroupNorm is told the statistics of
 * the whole picture, which an earlier sweep has taken.
 *
 * A resnet block is two sweeps. The first takes the statistics of what conv1 makes; the second calculates the result. Between them conv1's
 * result is kept, but for the last level, whose maps are the largest: there the second sweep calculates it again. An upsampled map is never
 * kept: whoever reads it doubles the smaller one (upsample-rows.ts).
 *
 * Source: diffusers models/autoencoders/vae.py@0.42.1 Decoder; differs: nothing is blended, unlike enable_tiling.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, slice } from "../../graph/operators.ts";
import type { MapShape } from "../../tensor/tensor.ts";
import { attendPixels, firstHalf, pixelSequence, projectPixels, secondHalf, shortcut } from "./blocks.ts";
import type { AutoencoderKLConfig } from "./config.ts";
import { decoderInput, decoderOutput } from "./model.ts";
import type { Strip, StripInputs, StripPlan, Sweep } from "./strip.ts";
import { upsampleKernels, upsampleRows } from "./upsample-rows.ts";

/** The map that the next layer reads, and the upsampler in between. */
interface Features {
  readonly map: string;
  readonly upsampler?: string | undefined;
}

/** How a resnet block is swept. */
interface ResnetOptions {
  readonly out: number;
  /** The map of its result, where that cannot take the place of its input. */
  readonly into: string;
  /** Keeps what conv1 makes, in a map of its own. */
  readonly keepsFirst: boolean;
  /** Takes the statistics of its result, for a norm that reads it. */
  readonly measures: boolean;
}

/** Output channels whose kernels are summed at a time: few, since the sums are laid out twice. */
const KERNELS_AT_A_TIME = 64;

/** A plan in the making. */
interface Draft {
  readonly config: AutoencoderKLConfig;
  readonly maps: Record<string, MapShape>;
  readonly tables: Record<string, readonly number[]>;
  readonly sweeps: Sweep[];
  /** Rows of a strip of this size: as many as make strips of the same bytes at every level. */
  readonly rowsOf: (size: MapShape) => number;
}

/**
 * The sweeps that decode latents of a size.
 *
 * `rows` are those of a strip of the full-size picture, an even number; smaller maps are cut into strips of as many bytes.
 */
export function planStrips(config: AutoencoderKLConfig, latents: { height: number; width: number }, rows: number): StripPlan {
  const channels = config.block_out_channels.toReversed();
  const last = channels.length - 1;
  const widest = Math.max(channels[last] as number, channels[last - 1] ?? 0) * latents.width * 2 ** last;
  const rowsOf = (size: MapShape) => Math.max(2, 2 * Math.floor((rows * widest) / (size.channels * size.width) / 2));
  const shape = { channels: config.latent_channels, ...latents };
  const draft: Draft = { config, maps: { latents: shape }, tables: {}, sweeps: [], rowsOf };

  const middle = { ...shape, channels: channels[0] as number };
  draft.maps.mid_block = middle;
  draft.sweeps.push(conv(draft));
  let features = midBlock(draft, { map: "mid_block" });
  for (const [level, out] of channels.entries()) {
    const block = `decoder.up_blocks.${level}`;
    const isLast = level === last;
    for (let j = 0; j <= config.layers_per_block; j++) {
      const measures = isLast || j < config.layers_per_block;
      features = resnet(draft, `${block}.resnets.${j}`, features, { out, into: block, keepsFirst: !isLast, measures });
    }
    if (!isLast) features = { ...features, upsampler: `${block}.upsamplers.0` };
  }
  const full = draft.maps[features.map] as MapShape;
  draft.maps.sample = { ...full, channels: config.out_channels };
  draft.sweeps.push({
    name: "decoder.conv_out",
    size: full,
    rows: rowsOf(full),
    source: { map: features.map, shape: full, halo: 1, isUpsampled: false },
    statistics: { source: full.channels },
    writes: { sample: "sample" },
    build: (g, weights, { x, statistics }, strip) => ({
      sample: decoderOutput(g, weights, config, x, { rows: strip, statistics: statistics("source") }),
    }),
  });
  return { maps: draft.maps, tables: draft.tables, sweeps: draft.sweeps };
}

function conv({ config, maps, rowsOf }: Draft): Sweep {
  const size = maps.mid_block as MapShape;
  return {
    name: "decoder.conv_in",
    size,
    rows: rowsOf(size),
    source: { map: "latents", shape: maps.latents as MapShape, halo: 1, isUpsampled: false },
    writes: { hidden: "mid_block" },
    measures: { value: "hidden", as: "source", channels: size.channels },
    build: (g, weights, { x }, strip) => ({ hidden: decoderInput(g, weights, config, x, strip) }),
  };
}

function midBlock(draft: Draft, features: Features): Features {
  const { channels: out } = draft.maps[features.map] as MapShape;
  const options = { out, into: features.map, keepsFirst: true, measures: true };
  resnet(draft, "decoder.mid_block.resnets.0", features, options);
  if (draft.config.mid_block_add_attention) attention(draft, features.map);
  return resnet(draft, "decoder.mid_block.resnets.1", features, options);
}

/** Keys and values of all pixels first; then strips of pixels ask them, in the engine's fused attention, which never writes out its scores. */
function attention({ config, maps, tables, sweeps, rowsOf }: Draft, map: string): void {
  const size = maps[map] as MapShape;
  const name = "decoder.mid_block.attentions.0";
  const pixels = [1, size.height * size.width, size.channels];
  Object.assign(tables, { key: pixels, value: pixels });
  const common = {
    name,
    size,
    rows: rowsOf(size),
    source: { map, shape: size, halo: 0, isUpsampled: false },
    statistics: { source: size.channels },
  };
  const sequence = (g: Graph, weights: Weights, { x, statistics }: StripInputs) =>
    pixelSequence(g, weights.at(name), config, x, statistics("source"));
  sweeps.push({
    ...common,
    writes: {},
    fills: { key: "key", value: "value" },
    build: (g, weights, inputs) => {
      const sequenceOf = sequence(g, weights, inputs);
      const project = (to: "key" | "value") => projectPixels(g, weights.at(name), sequenceOf, to);
      return { key: project("key"), value: project("value") };
    },
  });
  sweeps.push({
    ...common,
    uses: ["key", "value"],
    writes: { hidden: map },
    measures: { value: "hidden", as: "source", channels: size.channels },
    build: (g, weights, inputs) => {
      const query = projectPixels(g, weights.at(name), sequence(g, weights, inputs), "query");
      const asked = { query, key: inputs.table("key"), value: inputs.table("value") };
      return { hidden: attendPixels(g, weights.at(name), inputs.x, asked) };
    },
  });
}

/** Adds the sweeps of a resnet block, and those that prepare the upsampler before it. */
function resnet(draft: Draft, name: string, features: Features, options: ResnetOptions): Features {
  const { maps, sweeps } = draft;
  const given = maps[features.map] as MapShape;
  const scale = features.upsampler === undefined ? 1 : 2;
  const size = { channels: given.channels, height: scale * given.height, width: scale * given.width };
  if (features.upsampler !== undefined) prepareUpsampler(draft, features, size);
  const isInPlace = features.upsampler === undefined && options.out === given.channels;
  const into = isInPlace ? features.map : options.into;
  maps[into] = { ...size, channels: options.out };
  const block: Block = { ...options, draft, name, features, size, isInPlace, into };
  sweeps.push(firstSweep(block), options.keepsFirst ? secondSweep(block) : bothSweep(block));
  return { map: into };
}

interface Block extends ResnetOptions {
  readonly draft: Draft;
  readonly name: string;
  readonly features: Features;
  /** Size at which it works; channels are its input's. */
  readonly size: MapShape;
  readonly isInPlace: boolean;
}

/** The summed kernels, and the statistics of what the upsampler makes. */
function prepareUpsampler(draft: Draft, features: Features, size: MapShape): void {
  const { tables, sweeps, rowsOf } = draft;
  const name = features.upsampler as string;
  const { channels } = size;
  tables[name] = [4 * channels, channels, 2, 2];
  // A "row" is an output channel here.
  sweeps.push({
    name,
    size: { channels: 16 * channels, height: channels, width: 1 },
    rows: KERNELS_AT_A_TIME,
    isPlaced: true,
    writes: {},
    fills: { kernels: name },
    build: (g, weights, { x }, { from, to }) => ({ kernels: upsampleKernels(g, weights.at(name), channels, { from, to, after: x }) }),
  });
  sweeps.push({
    name,
    size,
    rows: rowsOf(size),
    ...reading(draft, features, 0),
    writes: {},
    measures: { value: "hidden", as: "source", channels },
    build: (g, weights, inputs, strip) => ({ hidden: sourceRows(g, weights, features, inputs, strip) }),
  });
}

/** Takes the statistics of what conv1 makes; keeps it, and what the shortcut makes, if asked to. */
function firstSweep(block: Block): Sweep {
  const { draft, name, features, size, out, keepsFirst, isInPlace, into } = block;
  const kept = `${into}.first`;
  if (keepsFirst) draft.maps[kept] = { ...size, channels: out };
  return {
    name,
    size,
    rows: draft.rowsOf(size),
    ...reading(draft, features, 1),
    statistics: { source: size.channels },
    writes: keepsFirst ? { first: kept, ...(isInPlace ? {} : { beside: into }) } : {},
    measures: { value: "first", as: "first", channels: out },
    build: (g, weights, inputs, strip) => {
      const x = sourceRows(g, weights, features, inputs, strip);
      const first = firstHalf(g, weights.at(name), draft.config, x, { out, rows: strip, statistics: inputs.statistics("source") });
      return keepsFirst && !isInPlace ? { first, beside: shortcut(g, weights.at(name), ownRows(g, x, strip), out) } : { first };
    },
  };
}

/** From what conv1 made to the result. */
function secondSweep({ draft, name, size, out, into, measures }: Block): Sweep {
  const made = { ...size, channels: out };
  const map = `${into}.first`;
  return {
    name,
    size: made,
    rows: draft.rowsOf(made),
    source: { map, shape: made, halo: 1, isUpsampled: false },
    beside: into,
    statistics: { first: out },
    writes: { hidden: into },
    measures: measures ? { value: "hidden", as: "source", channels: out } : undefined,
    build: (g, weights, { x, beside, statistics }, strip) => {
      const second = secondHalf(g, weights.at(name), draft.config, x, { rows: strip, statistics: statistics("first") });
      return { hidden: add(g, beside, second) };
    },
  };
}

/** From the block's input to its result, with conv1 once more. */
function bothSweep({ draft, name, features, size, out, into, measures }: Block): Sweep {
  return {
    name,
    size,
    rows: draft.rowsOf(size),
    ...reading(draft, features, 2),
    statistics: { source: size.channels, first: out },
    writes: { hidden: into },
    measures: measures ? { value: "hidden", as: "source", channels: out } : undefined,
    build: (g, weights, inputs, strip) => {
      const x = sourceRows(g, weights, features, inputs, strip);
      const scope = weights.at(name);
      const first = firstHalf(g, scope, draft.config, x, { out, rows: strip, statistics: inputs.statistics("source") });
      const second = secondHalf(g, scope, draft.config, first, { rows: strip, statistics: inputs.statistics("first") });
      return { hidden: add(g, shortcut(g, scope, ownRows(g, x, strip), out), second) };
    },
  };
}

function reading({ maps }: Draft, { map, upsampler }: Features, halo: number): Pick<Sweep, "source" | "uses"> {
  const source = { map, shape: maps[map] as MapShape, halo, isUpsampled: upsampler !== undefined };
  return upsampler === undefined ? { source } : { source, uses: [upsampler] };
}

/** The rows of a layer's input, halo included. */
function sourceRows(g: Graph, weights: Weights, { upsampler }: Features, { x, table }: StripInputs, strip: Strip): Value {
  return upsampler === undefined ? x : upsampleRows(g, weights.at(upsampler), x, table(upsampler), strip.upsampled);
}

/** The rows that are made, without the halo. */
function ownRows(g: Graph, x: Value, { from, to, first }: Strip): Value {
  return slice(g, x, 2, from - first, to - first);
}
