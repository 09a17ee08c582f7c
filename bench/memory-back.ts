/**
 * Whether memory goes back where a run ends, however it ends: resident memory of one process after pictures of a large checkpoint, after each of
 * their phases, after a run that was stopped, one that was left and one that failed; against what it was after the first picture and dispose().
 *
 * usage: node bench/memory-back.ts MODEL [--qtype qint8] [--size 512] (Node 22.18 or newer, after `npm run build`; Linux; a PixArt, as
 * reference/true_size.py writes it)
 * Writes bench/results/memory-back.json and prints a Markdown table; fails where more than 100 MB stay.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { DiffusionPipeline, type GenerateOptions, type PipelineEvent } from "halftone";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";

const options = { qtype: { type: "string", default: "qint8" }, size: { type: "string", default: "512" } } as const;
const { values, positionals } = parseArgs({ allowPositionals: true, options });
const side = Number(values.size);
const MOST_BYTES = 100e6;
const run = describeMachine();
const rows: { after: string; residentBytes: number; stayedBytes: number; ended: string }[] = [];

/** One run of a pipeline of its own; `look` sees every event and says whether to leave. */
async function use(change: GenerateOptions, look: (event: PipelineEvent) => boolean, isTiled = false): Promise<string> {
  const pipeline = await DiffusionPipeline.fromPretrained(positionals[0] ?? "", { dtype: "float32" });
  pipeline.quantize(values.qtype);
  if (isTiled) pipeline.enableVaeTiling();
  try {
    const request = { seed: 0, height: side, width: side, numInferenceSteps: 1, ...change };
    for await (const event of pipeline.stream("a small cactus with a happy face in the Sahara desert", request)) {
      if (look(event)) return "left";
    }
    return "whole";
  } catch (error) {
    return (error as Error).name;
  } finally {
    await pipeline.dispose();
  }
}

function note(after: string, ended = ""): void {
  const residentBytes = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024;
  rows.push({ after, residentBytes, stayedBytes: residentBytes - (rows[0]?.residentBytes ?? residentBytes), ended });
}

const never = () => false;
note("a first picture and dispose()", await use({}, never));

const ended = await use({}, (event) => {
  if (event.type === "phase") note(`the second picture's ${event.report.phase}`);
  return false;
});
note("the second picture and dispose()", ended);
const stop = new AbortController();
const stopped = await use({ signal: stop.signal, numInferenceSteps: 3 }, (event) => {
  if (event.type === "step") stop.abort();
  return false;
});
note("a run that was cancelled after a step, and dispose()", stopped);
const isStrip = (event: PipelineEvent) => event.type === "segment" && event.phase === "decode" && event.done > event.total / 2;
note("a run that was left while it decoded in strips, and dispose()", await use({}, isStrip, true));
const latents = { dtype: "float32", shape: [1, 4, side / 8, side / 8], data: new Float32Array((4 * side * side) / 64).fill(3e38) } as const;
note("a run whose transformer overflowed, and dispose()", await use({ latents }, never));

writeFileSync("bench/results/memory-back.json", `${JSON.stringify({ run, settings: values, rows }, undefined, 2)}\n`);
console.log("| resident memory after | MB | beyond the first line | the run ended |\n|---|---|---|---|");
const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
for (const { after, residentBytes, stayedBytes, ended: how } of rows)
  console.log(`| ${after} | ${megabytes(residentBytes)} | ${megabytes(stayedBytes)} | ${how} |`);
process.exitCode = rows.some(({ stayedBytes }) => stayedBytes > MOST_BYTES) ? 1 : 0;
