/**
 * Quantizing in one thread, in memory: nanoseconds per weight, for every dtype and qtype; with --against also of another build, in turns.
 *
 * usage: node bench/quantizing.ts [--against DIST-FOLDER] [--rounds 60] [--name quantizing]
 * Writes bench/results/NAME.json and prints a Markdown table. Node 22.18 or newer, after `npm run build`. The best of short rounds counts:
 * on a busy machine the others were interrupted.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import type * as QTypes from "../src/quant/qtype.ts";
import type * as QuantizeWeight from "../src/quant/quantize-weight.ts";
import type * as WeightLayout from "../src/quant/weight-layout.ts";
import { fromFloat32 } from "../src/tensor/convert.ts";

const { values } = parseArgs({
  options: { against: { type: "string" }, rounds: { type: "string", default: "60" }, name: { type: "string", default: "quantizing" } },
});
/** A quarter of a block, so that a round is short; a row is PixArt's. */
const SHAPE = [224, 1152] as const;
const WEIGHTS = SHAPE[0] * SHAPE[1];
const DTYPES = ["float16", "bfloat16", "float32"] as const;
const QTYPES = ["qint8", "qfloat8", "qint4", "qint2"] as const;

type DTypeName = (typeof DTYPES)[number];
type Run = () => void;

/** The parts of a build that quantize. */
async function open(dist: string): Promise<(dtype: DTypeName, qtype: string) => Run> {
  const load = (file: string) => import(path.resolve(dist, file)) as Promise<unknown>;
  const { quantizeBlock } = (await load("quant/quantize-weight.js")) as typeof QuantizeWeight;
  const { layOutWeight, splitWeight } = (await load("quant/weight-layout.js")) as typeof WeightLayout;
  const { findQType } = (await load("quant/qtype.js")) as typeof QTypes;
  const numbers = Float32Array.from({ length: WEIGHTS }, (_, i) => 0.05 * Math.sin(i * i));
  return (dtype, name) => {
    const layout = layOutWeight({ name: "weight", shape: SHAPE, dtype, qtype: findQType(name) });
    const bytes = fromFloat32(numbers, dtype);
    const [block] = splitWeight(layout, WEIGHTS);
    if (block === undefined) throw new Error("a weight has no block");
    return () => quantizeBlock(layout, block, bytes, dtype);
  };
}

function milliseconds(run: Run): number {
  const started = performance.now();
  run();
  return performance.now() - started;
}

const now = await open("dist");
const before = values.against === undefined ? undefined : await open(values.against);
const cases = DTYPES.flatMap((dtype) => QTYPES.map((qtype) => ({ dtype, qtype, now: now(dtype, qtype), before: before?.(dtype, qtype) })));
const best = cases.map(() => ({ now: Number.POSITIVE_INFINITY, before: Number.POSITIVE_INFINITY }));
for (let round = 0; round < Number(values.rounds); round++) {
  for (const [i, one] of cases.entries()) {
    const found = best[i] as (typeof best)[number];
    found.now = Math.min(found.now, milliseconds(one.now));
    if (one.before !== undefined) found.before = Math.min(found.before, milliseconds(one.before));
  }
}

const perWeight = (time: number) => (Number.isFinite(time) ? Number(((time * 1e6) / WEIGHTS).toFixed(2)) : undefined);
const nanoseconds = cases.map(({ dtype, qtype }, i) => ({
  dtype,
  qtype,
  now: perWeight(best[i]?.now ?? 0),
  before: perWeight(best[i]?.before ?? 0),
}));
const result = { run: describeMachine(), settings: { shape: SHAPE, rounds: Number(values.rounds) }, nanosecondsPerWeight: nanoseconds };
writeFileSync(`bench/results/${values.name}.json`, `${JSON.stringify(result, undefined, 2)}\n`);
console.log(["| dtype | qtype | ns per weight | before |", "|---|---|---|---|"].join("\n"));
for (const { dtype, qtype, now, before } of nanoseconds) console.log(`| ${dtype} | ${qtype} | ${now} | ${before ?? ""} |`);
