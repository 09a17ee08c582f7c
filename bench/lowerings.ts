/**
 * What unpacking costs: a stack of linear layers (PixArt-Σ's feed-forward, 1152 -> 4608 -> 1152, three times) with weights stored in each way,
 * against float32 that is used as it lies, alternately in one run.
 *
 * usage: node bench/lowerings.ts [--rows 2048,600,64] [--rounds 7] [--threads N] (Node 22.18 or newer)
 * Writes bench/results/lowerings.json and prints a Markdown table of the best round's ratio.
 */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { openFile } from "../src/checkpoint/file-source-node.ts";
import type { StoredTensor } from "../src/checkpoint/stored-tensor.ts";
import { Weights } from "../src/checkpoint/weights.ts";
import { Graph } from "../src/graph/graph.ts";
import { linear } from "../src/nn/linear.ts";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import { findQType, QTYPES } from "../src/quant/qtype.ts";
import { quantizeWeight } from "../src/quant/quantize-weight.ts";
import { onnxRuntimeNode } from "../src/runtime/onnxruntime-node.ts";
import type { Program } from "../src/runtime/runtime.ts";
import { fromFloat32 } from "../src/tensor/convert.ts";
import type { DType } from "../src/tensor/dtype.ts";
import { floatTensor } from "../src/tensor/tensor.ts";

const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "2048,600,64" },
    rounds: { type: "string", default: "7" },
    threads: { type: "string" },
  },
});
const WIDTHS = [1152, 4608, 1152, 4608, 1152, 4608, 1152];
/** qint8 as `--fast` multiplies it. */
const FAST = "qint8 --fast";
const FLOATS: DType[] = ["float32", "float16", "bfloat16"];

const folder = mkdtempSync(path.join(tmpdir(), "halftone-lowerings-"));
const runtime = onnxRuntimeNode({ threads: values.threads === undefined ? undefined : Number(values.threads) });
const scopes = new Map<string, Weights>();
for (const name of [...FLOATS, ...QTYPES.map((qtype) => qtype.name), FAST]) scopes.set(name, await storeLayers(name));

const results: { rows: number; stored: string; bestMs: number; ratio: number }[] = [];
for (const rows of values.rows.split(",").map(Number)) results.push(...(await measure(rows)));
rmSync(folder, { recursive: true });
writeFileSync("bench/results/lowerings.json", `${JSON.stringify({ run: describeMachine(), settings: values, results }, undefined, 2)}\n`);
printTable();

async function measure(rows: number): Promise<typeof results> {
  const programs = new Map<string, { program: Program; best: number }>();
  for (const [name, scope] of scopes) {
    const g = new Graph("float32");
    const x = g.input("x", [1, rows, WIDTHS[0] as number]);
    const y = WIDTHS.slice(1).reduce((hidden, out, i) => linear(g, scope.at(i), hidden, { out, bias: false }), x);
    g.output("y", y);
    programs.set(name, { program: await runtime.compile(g, { keepScratchMemory: true }), best: Number.POSITIVE_INFINITY });
  }
  const x = floatTensor([1, rows, 1152]);
  for (const i of x.data.keys()) x.data[i] = Math.sin(i);
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const entry of programs.values()) {
      const started = performance.now();
      await entry.program.run({ x });
      entry.best = Math.min(entry.best, performance.now() - started);
    }
  }
  for (const { program } of programs.values()) await program.dispose();
  const base = programs.get("float32")?.best ?? Number.NaN;
  return Array.from(programs, ([stored, { best }]) => ({ rows, stored, bestMs: best, ratio: best / base }));
}

/** Layers 0..n with random weights in a file, stored as a dtype or quantized as Quanto stores them. */
async function storeLayers(stored: string): Promise<Weights> {
  const name = stored === FAST ? "qint8" : stored;
  const file = path.join(folder, `${stored}.bin`);
  const handle = openSync(file, "w");
  const places: Omit<StoredTensor, "source">[] = [];
  let offset = 0;
  const append = (tensor: string, dtype: DType, shape: readonly number[], bytes: Uint8Array) => {
    writeSync(handle, bytes);
    places.push({ name: tensor, dtype, shape, offset, sizeBytes: bytes.length });
    offset += bytes.length;
  };
  for (const [i, out] of WIDTHS.slice(1).entries()) {
    const shape = [out, WIDTHS[i] as number];
    const weight = Float32Array.from({ length: out * (shape[1] as number) }, () => (Math.random() - 0.5) / 20);
    if (FLOATS.includes(name as DType)) append(`${i}.weight`, name as DType, shape, fromFloat32(weight, name as "float32"));
    else {
      const { data, scale, shift } = quantizeWeight(weight, { name: `${i}.weight`, shape, dtype: "float32", qtype: findQType(name) });
      // Scale and shift first: float32 stays aligned.
      for (const part of [scale, ...(shift ? [shift] : []), data]) append(`${i}.weight.${part.key}`, part.dtype, part.shape, part.bytes);
    }
  }
  closeSync(handle);
  const source = await openFile(file);
  const tensors = new Map(places.map((place) => [place.name, { ...place, source }]));
  const qtypes = FLOATS.includes(name as DType) ? undefined : new Map(WIDTHS.slice(1).map((_, i) => [String(i), name]));
  const integerProducts = stored === FAST ? "signed" : undefined;
  return Weights.of({ component: "bench", name: file, tensors, qtypes, integerProducts });
}

function printTable(): void {
  const rows = values.rows.split(",").map(Number);
  console.log(`| weights stored as | ${rows.map((count) => `${count} rows`).join(" | ")} |\n|---|${rows.map(() => "---|").join("")}`);
  for (const stored of scopes.keys()) {
    const cells = rows.map((count) => results.find((found) => found.rows === count && found.stored === stored)?.ratio.toFixed(2));
    console.log(`| ${stored} | ${cells.join(" | ")} |`);
  }
}
