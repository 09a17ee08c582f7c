/**
 * Runs AutoencoderKL's decoder strip by strip (strip-plan.ts): one small program at a time, over maps that are kept in memory or in files.
 *
 * All memory beyond the engine's own is taken here, when it is first needed, and given back here at a known moment: the maps that later
 * sweeps read, the tables, and one buffer for the rows that go into a strip and come out of it.
 */
import type { Weights } from "../checkpoint/weights.ts";
import type { Graph } from "../graph/graph.ts";
import type { AutoencoderKLConfig } from "../models/autoencoder-kl/config.ts";
import { GroupStatistics } from "../models/autoencoder-kl/group-statistics.ts";
import { buildStrip, cutStrips, resultNames, type Strip, type StripPlan, type Sweep, stripForm } from "../models/autoencoder-kl/strip.ts";
import { lifetimes, resultKey, rowFloats } from "../models/autoencoder-kl/strip-memory.ts";
import { planStrips } from "../models/autoencoder-kl/strip-plan.ts";
import { letOthersRun, type SegmentProgress } from "../runtime/executor.ts";
import { type FeatureMap, memoryFeatureMap, type OpenFeatureMap } from "../runtime/feature-map.ts";
import type { Program, Runtime } from "../runtime/runtime.ts";
import type { ComputeDType } from "../tensor/dtype.ts";
import { type ReleasableFloats, releasableFloats } from "../tensor/releasable.ts";
import { elementCount, type FloatTensor, floatTensor, type MapShape, type Tensor } from "../tensor/tensor.ts";

/** What is decoded, and how. */
export interface StripDecoderOptions {
  readonly runtime: Runtime;
  readonly weights: Weights;
  readonly config: AutoencoderKLConfig;
  readonly dtype: ComputeDType;
  /** Size of the latents. */
  readonly height: number;
  readonly width: number;
  /** Rows of a strip, at the picture's size. */
  readonly rows: number;
  /** Where maps are kept between sweeps. */
  readonly openMap: OpenFeatureMap;
}

/** The decoder of one size; holds nothing between two pictures. */
export class StripDecoder {
  readonly #options: StripDecoderOptions;
  readonly #plan: StripPlan;

  constructor(options: StripDecoderOptions) {
    this.#options = options;
    this.#plan = planStrips(options.config, options, options.rows);
  }

  /**
   * Decodes latents [1, latent_channels, height, width] to a sample [1, out_channels, factor * height, factor * width]; yields before each
   * strip.
   *
   * Errors: CancelledError at the next strip after the signal was raised; FileError where maps are kept in files.
   */
  async *run(inputs: Readonly<Record<string, Tensor>>, signal?: AbortSignal): AsyncGenerator<SegmentProgress, Record<string, Tensor>> {
    const sweeps = this.#plan.sweeps.map((sweep) => ({ sweep, strips: cutStrips(sweep) }));
    const total = sweeps.reduce((sum, { strips }) => sum + strips.length, 0);
    const work = new StripWork(this.#options, this.#plan);
    let done = 0;
    try {
      await work.begin((inputs.latents as FloatTensor).data);
      for (const [i, { sweep, strips }] of sweeps.entries()) {
        for await (const _ of work.run(sweep, strips)) {
          yield { done, total };
          await letOthersRun(this.#options.runtime, signal);
          done++;
        }
        await work.dropAfter(i);
      }
      yield { done, total };
      return { sample: await work.sample() };
    } finally {
      await work.dispose();
    }
  }

  /** Nothing is held: there to stand in for an executor. */
  async dispose(): Promise<void> {}
}

/** Rows of a strip, before and after, as views of one buffer. */
type StripRows = Readonly<Record<string, Float32Array>>;

/** One picture's decoding: what it holds, and one sweep after the other. */
class StripWork {
  readonly #options: StripDecoderOptions;
  readonly #plan: StripPlan;
  readonly #maps = new Map<string, FeatureMap>();
  readonly #tables = new Map<string, ReleasableFloats>();
  readonly #lives: ReturnType<typeof lifetimes>;
  readonly #buffer: ReleasableFloats;
  readonly #statistics = new Map<string, Float32Array>();

  constructor(options: StripDecoderOptions, plan: StripPlan) {
    this.#options = options;
    this.#plan = plan;
    this.#lives = lifetimes(plan);
    this.#buffer = releasableFloats(Math.max(...plan.sweeps.map((sweep) => sum(Object.values(rowFloats(plan, sweep))))));
  }

  /** Takes the latents in. */
  async begin(latents: Float32Array): Promise<void> {
    const map = await this.#map("latents");
    await map.write(0, map.height, latents);
  }

  /** The picture, when all sweeps are done. */
  async sample(): Promise<FloatTensor> {
    const map = await this.#map("sample");
    const sample = floatTensor([1, map.channels, map.height, map.width]);
    await map.read(0, map.height, sample.data);
    return sample;
  }

  /** Runs a sweep; yields before each strip. */
  async *run(sweep: Sweep, strips: readonly Strip[]): AsyncGenerator<void, void> {
    const { weights, dtype, runtime, config } = this.#options;
    const { measures } = sweep;
    const taken = measures && new GroupStatistics(measures.channels, config.norm_num_groups);
    const rows = this.#rows(sweep);
    let compiled: { form: string; graph: Graph; program: Program } | undefined;
    try {
      await this.#read(sweep, strips[0] as Strip, rows);
      for (const [i, strip] of strips.entries()) {
        yield;
        const form = stripForm(sweep, strip);
        if (compiled?.form !== form) {
          await compiled?.program.dispose();
          compiled = undefined;
          const graph = buildStrip(this.#plan, sweep, strip, weights, dtype);
          compiled = { form, graph, program: await runtime.compile(graph, { keepScratchMemory: true }) };
        }
        const results = this.#results(sweep, strip, rows, compiled.graph);
        await compiled.program.run(this.#inputs(rows, compiled.graph), results);
        if (measures !== undefined) taken?.add(results[measures.value]?.data as Float32Array);
        // Before anything is written: a result may take the place of rows that the next strip reads.
        const next = strips[i + 1];
        if (next !== undefined) await this.#read(sweep, next, rows);
        for (const [value, name] of Object.entries(sweep.writes)) {
          await (await this.#map(name)).write(strip.from, strip.to, results[value]?.data as Float32Array);
        }
      }
    } finally {
      await compiled?.program.dispose();
    }
    if (measures === undefined || taken === undefined) return;
    const { mean, variance } = taken.perChannel();
    this.#statistics.set(`${measures.as}.mean`, mean).set(`${measures.as}.variance`, variance);
  }

  /** Gives back the maps and tables that no sweep after this one touches. */
  async dropAfter(sweepIndex: number): Promise<void> {
    const isOver = (name: string) => (this.#lives.get(name)?.last ?? 0) <= sweepIndex;
    for (const [name, map] of this.#maps) if (isOver(name)) await this.#drop(name, map);
    for (const [name, table] of this.#tables) {
      if (!isOver(name)) continue;
      this.#tables.delete(name);
      table.release();
    }
  }

  async dispose(): Promise<void> {
    for (const table of this.#tables.values()) table.release();
    this.#tables.clear();
    this.#buffer.release();
    for (const [name, map] of this.#maps) await this.#drop(name, map);
  }

  async #drop(name: string, map: FeatureMap): Promise<void> {
    this.#maps.delete(name);
    await map.dispose();
  }

  async #map(name: string): Promise<FeatureMap> {
    const known = this.#maps.get(name);
    if (known !== undefined) return known;
    const open = name === "latents" || name === "sample" ? memoryFeatureMap : this.#options.openMap;
    const map = await open(this.#plan.maps[name] as MapShape);
    this.#maps.set(name, map);
    return map;
  }

  #table(name: string): Float32Array {
    const table = this.#tables.get(name) ?? releasableFloats(elementCount(this.#plan.tables[name] as readonly number[]));
    this.#tables.set(name, table);
    return table.data;
  }

  /** Places for the rows of a sweep's widest strip. */
  #rows(sweep: Sweep): StripRows {
    let at = 0;
    const places = Object.entries(rowFloats(this.#plan, sweep)).map(([name, floats]) => {
      at += floats;
      return [name, this.#buffer.data.subarray(at - floats, at)] as const;
    });
    return Object.fromEntries(places);
  }

  async #read({ source, beside }: Sweep, strip: Strip, rows: StripRows): Promise<void> {
    if (source !== undefined) await (await this.#map(source.map)).read(strip.readFrom, strip.readTo, rows.x as Float32Array);
    if (beside !== undefined) await (await this.#map(beside)).read(strip.from, strip.to, rows.beside as Float32Array);
  }

  #inputs(rows: StripRows, graph: Graph): Record<string, FloatTensor> {
    const entries = graph.inputs.map(({ name, shape }) => {
      const data = rows[name] ?? this.#statistics.get(name) ?? (name === "start" ? new Float32Array(1) : this.#table(name));
      return [name, floatTensor(shape, data.subarray(0, elementCount(shape)))] as const;
    });
    return Object.fromEntries(entries);
  }

  /** Where results go: the rows of a table, or the strip's own memory. */
  #results(sweep: Sweep, strip: Strip, rows: StripRows, graph: Graph): Record<string, FloatTensor> {
    const entries = resultNames(sweep).map((name) => {
      const shape = graph.outputs.get(name)?.shape as readonly number[];
      const floats = elementCount(shape);
      const table = sweep.fills?.[name];
      const from = table === undefined ? 0 : (floats / (strip.to - strip.from)) * strip.from;
      const memory = table === undefined ? (rows[resultKey(name)] as Float32Array) : this.#table(table);
      return [name, floatTensor(shape, memory.subarray(from, from + floats))] as const;
    });
    return Object.fromEntries(entries);
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
