/**
 * Makes one picture and prints a line of JSON at the end of each phase: what bench/true-size.ts runs in a process of its own.
 *
 * usage: node bench/one-picture.ts MODEL SIZE STEPS DTYPE [QTYPE]
 */
import { DiffusionPipeline, type LoadOptions } from "halftone";

const [model = "", size = "512", steps = "2", dtype = "float32", qtype] = process.argv.slice(2);
const prompt = "a small cactus with a happy face in the Sahara desert";
const say = (line: object) => console.log(JSON.stringify({ at: Date.now(), ...line }));

say({ phase: "start" });
const pipeline = await DiffusionPipeline.fromPretrained(model, { dtype: dtype as LoadOptions["dtype"] });
if (qtype !== undefined) pipeline.quantize(qtype);
say({ phase: "open" });
const stepSeconds: number[] = [];
const request = { seed: 0, height: Number(size), width: Number(size), numInferenceSteps: Number(steps), guidanceScale: 4.5 };
for await (const event of pipeline.stream(prompt, request)) {
  if (event.type === "freeze" && event.frozenBytes !== undefined) say({ phase: `quantize ${event.part}` });
  if (event.type === "step") stepSeconds.push(event.seconds);
  if (event.type === "phase") say({ phase: event.report.phase, stepSeconds: event.report.phase === "denoise" ? stepSeconds : undefined });
}
await pipeline.dispose();
