/**
 * Quantizes a model, then makes pictures with it: what bench/quantization.ts runs in a process of its own, so that memory can be told apart.
 *
 * usage: node bench/quantized-run.ts SETTINGS-AS-JSON
 * Prints a line of JSON when the model is ready, and one when the pictures are; writes latents and pixels to the folder `output`.
 */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { DiffusionPipeline, type FloatTensor, type LoadOptions } from "halftone";

/** What to do. */
export interface RunSettings {
  readonly model: string;
  readonly dtype: LoadOptions["dtype"];
  /** What is quantized to what; undefined for nothing. */
  readonly spec: string | undefined;
  readonly exclude: readonly string[];
  readonly prompts: readonly string[];
  readonly size: number | undefined;
  readonly steps: number;
  readonly output: string;
}

const settings = JSON.parse(process.argv[2] ?? "{}") as RunSettings;
const { model, dtype, spec, exclude, prompts, size, steps, output } = settings;
const say = (line: object) => console.log(JSON.stringify({ at: Date.now(), ...line }));

say({ phase: "start" });
const pipeline = await DiffusionPipeline.fromPretrained(model, { dtype });
if (spec !== undefined) {
  pipeline.quantize(spec, { exclude });
  for (const part of [pipeline.transformer, pipeline.textEncoder]) if (part && part.marks.size > 0) await part.freeze();
}
const weightBytes = (pipeline.transformer?.weightBytes ?? 0) + (pipeline.textEncoder?.weightBytes ?? 0);
say({ phase: "load", weightBytes });

const first: FloatTensor[] = [];
const pixels: Uint8Array[] = [];
const stepSeconds: number[] = [];
const made = { height: 0, width: 0 };
for (const [seed, prompt] of prompts.entries()) {
  const request = { seed, numInferenceSteps: steps, ...(size === undefined ? {} : { height: size, width: size }) };
  for await (const event of pipeline.stream(prompt, request)) {
    if (event.type === "step") stepSeconds.push(event.seconds);
    if (event.type === "step" && event.step === 1) first.push(event.latents);
    if (event.type !== "image") continue;
    pixels.push(Uint8Array.from(event.image.data));
    Object.assign(made, { height: event.image.height, width: event.image.width });
  }
}
await pipeline.dispose();
writeFileSync(path.join(output, "first.bin"), Buffer.concat(first.map(({ data }) => Buffer.from(Float32Array.from(data).buffer))));
writeFileSync(path.join(output, "pixels.bin"), Buffer.concat(pixels));
say({ phase: "run", stepSeconds, shape: first[0]?.shape, ...made });
