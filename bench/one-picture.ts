/**
 * Makes one picture and prints a line of JSON at the end of each phase: what bench/true-size.ts runs in a process of its own.
 *
 * usage: node bench/one-picture.ts MODEL SIZE STEPS DTYPE [THREADS]
 */
import { DiffusionPipeline, type LoadOptions } from "halftone";

const [model = "", size = "512", steps = "2", dtype = "float32", threads] = process.argv.slice(2);
const prompt = "a small cactus with a happy face in the Sahara desert";
const say = (line: object) => console.log(JSON.stringify({ at: Date.now(), ...line }));

say({ phase: "start" });
const options = { dtype: dtype as LoadOptions["dtype"], threads: threads === undefined ? undefined : Number(threads) };
const pipeline = await DiffusionPipeline.fromPretrained(model, options);
say({ phase: "open" });
const stepSeconds: number[] = [];
const request = { seed: 0, height: Number(size), width: Number(size), numInferenceSteps: Number(steps), guidanceScale: 4.5 };
for await (const event of pipeline.stream(prompt, request)) {
  if (event.type === "step") stepSeconds.push(event.seconds);
  if (event.type === "phase") say({ phase: event.report.phase, stepSeconds: event.report.phase === "denoise" ? stepSeconds : undefined });
}
await pipeline.dispose();
