/**
 * One picture under a budget, in a process of its own: what bench/memory.ts runs inside a cgroup. Prints a line of JSON for each phase.
 *
 * usage: node bench/memory-run.ts SETTINGS-AS-JSON
 */
import { DiffusionPipeline } from "halftone";
import type { MemoryRow } from "./memory-rows.ts";

const row = JSON.parse(process.argv[2] ?? "{}") as MemoryRow & { folder: string; prepareOnly?: boolean };
const say = (line: object) => console.log(JSON.stringify({ at: Date.now(), ...line }));
const pipeline = await DiffusionPipeline.fromPretrained(row.folder, { dtype: "float32", maxMemory: row.budgetBytes });
if (row.qtype !== undefined) pipeline.quantize(row.qtype);
if (row.hold === "resident") pipeline.enableModelCpuOffload();
if (row.hold === "streamed") pipeline.enableSequentialCpuOffload();
if (row.prepareOnly === true) {
  for (const part of [pipeline.transformer, pipeline.textEncoder, row.parts === 3 ? pipeline.textEncoder2 : null])
    if (part !== null && part.marks.size > 0) await part.freeze();
} else {
  const stepSeconds: number[] = [];
  const request = { seed: 0, height: row.size, width: row.size, numInferenceSteps: row.steps };
  say({ event: "start" });
  for await (const event of pipeline.stream("a small cactus with a happy face in the Sahara desert", request)) {
    if (event.type === "step") stepSeconds.push(event.seconds);
    if (event.type === "phase") say({ event: "phase", report: event.report });
  }
  say({ event: "end", stepSeconds });
}
await pipeline.dispose();
