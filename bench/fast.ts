/**
 * What `--fast` wins and what it costs: the embedded checkpoint's pictures against the faithful ones of the same weights and, for a checkpoint of
 * true size, the time of a call of the transformer's first blocks, alternately with the faithful call and with a peer's.
 *
 * usage: node bench/fast.ts [MODEL] [--peer "PYTHON reference/step_time.py MODEL"] [--rounds 5] [--blocks 4] [--size 512] [--spread 0]
 * (Node 22.18 or newer; MODEL is a PixArt, as reference/true_size.py writes it)
 * --spread N also says how N more pictures spread. Writes bench/results/fast.json and prints what it found.
 */
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import type { IntegerProducts } from "../src/checkpoint/weights.ts";
import { meanSquaredError, psnrOf } from "../src/image/similarity.ts";
import { DiffusionModel, DiffusionPipeline, demoModelFolder, type FloatTensor, type GeneratedImage, quantize } from "../src/index.ts";
import { PixArtConfigSchema } from "../src/models/pixart/config.ts";
import { pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../src/models/pixart/model.ts";
import { modelConfig } from "../src/models/registry.ts";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import { TorchGenerator } from "../src/random/torch-generator.ts";
import { Executor, finish } from "../src/runtime/executor.ts";
import { onnxRuntimeNode } from "../src/runtime/onnxruntime-node.ts";
import { demoPrompts } from "./demo-prompts.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    peer: { type: "string" },
    rounds: { type: "string", default: "5" },
    blocks: { type: "string", default: "4" },
    size: { type: "string", default: "512" },
    spread: { type: "string", default: "0" },
  },
});

const pictures: Awaited<ReturnType<typeof comparePictures>>[] = [];
const more = demoPrompts(Number(values.spread));
for (const prompts of more.length === 0 ? [fixturePrompts()] : [fixturePrompts(), more])
  for (const spec of ["transformer=qint8", "qint8"]) pictures.push(await comparePictures(spec, prompts));
console.table(pictures);
const [folder] = positionals;
const calls = folder === undefined ? undefined : await timeCalls(folder);
if (calls !== undefined) console.table(calls);
const settings = { ...values, peer: values.peer !== undefined };
writeFileSync("bench/results/fast.json", `${JSON.stringify({ run: describeMachine(), settings, pictures, calls }, undefined, 2)}\n`);

/** Eight prompts. */
function fixturePrompts(): { prompt: string; seed: number }[] {
  const { cases } = JSON.parse(readFileSync("test/fixtures/demo/io.json", "utf8")) as { cases: { options: { prompt: string } }[] };
  return cases.map(({ options }, seed) => ({ prompt: options.prompt, seed }));
}

/** 20 steps, at equal seeds. */
async function comparePictures(spec: string, prompts: readonly { prompt: string; seed: number }[]) {
  const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
  pipeline.quantize(spec);
  const errors: number[] = [];
  let [difference, base] = [0, 0];
  for (const { prompt, seed } of prompts) {
    const make = async (fast: boolean) => {
      const { images, report } = await pipeline.generate(prompt, { seed, fast });
      return { image: images[0] as GeneratedImage, latents: report.latents };
    };
    const [faithful, fast] = [await make(false), await make(true)];
    errors.push(meanSquaredError(faithful.image, fast.image));
    for (const [i, value] of faithful.latents.data.entries()) {
      difference += ((fast.latents.data[i] as number) - value) ** 2;
      base += value ** 2;
    }
  }
  await pipeline.dispose();
  const psnr = psnrOf(errors.reduce((sum, error) => sum + error, 0) / errors.length);
  const each = errors.map(psnrOf).sort((a, b) => a - b);
  const [worstPsnr] = each;
  const meanPsnr = each.reduce((sum, value) => sum + value, 0) / each.length;
  const tenthPsnr = each[Math.floor(each.length / 10)];
  return { spec, pictures: each.length, psnr, meanPsnr, tenthPsnr, worstPsnr, latentError: Math.sqrt(difference / base) };
}

/** Best and median seconds of a call, and how far fast results are from the faithful one. */
async function timeCalls(model: string) {
  const ways: Record<string, IntegerProducts | undefined> = {
    "halftone qint8": undefined,
    "halftone qint8 --fast": "signed",
    "halftone qint8 --fast, codes without signs": "unsigned",
  };
  const part = await DiffusionModel.fromPretrained(model, { subfolder: "transformer", dtype: "float16" });
  quantize(part, { weights: "qint8" });
  await part.freeze();
  const { config, size, inputs } = callOf(part);
  const executors = Object.entries(ways).map(([name, kind]) => {
    const graph = pixArtTransformer(part.weights(kind), config, "float32", size);
    return [name, new Executor(onnxRuntimeNode(), graph, { hold: "resident", segmentsPerProgram: 1000 })] as const;
  });
  const seconds = new Map<string, number[]>();
  const errors = new Map<string, number>();
  const peer = values.peer === undefined ? undefined : startPeer(values.peer);
  for (let round = 0; round <= Number(values.rounds); round++) {
    let faithful: FloatTensor | undefined;
    for (const [name, executor] of executors) {
      const started = performance.now();
      const sample = (await finish(executor.run(inputs))).sample as FloatTensor;
      // The first round compiles, and warms the page cache.
      if (round > 0) seconds.set(name, [...(seconds.get(name) ?? []), (performance.now() - started) / 1000]);
      faithful ??= sample;
      errors.set(name, relativeError(sample.data, faithful.data));
    }
    const theirs = (await peer?.round()) ?? {};
    if (round > 0) for (const [name, time] of Object.entries(theirs)) seconds.set(name, [...(seconds.get(name) ?? []), time]);
  }
  for (const [, executor] of executors) await executor.dispose();
  await part.dispose();
  peer?.stop();
  const fast = Math.min(...(seconds.get("halftone qint8 --fast") ?? []));
  return Array.from(seconds, ([name, times]) => {
    const best = Math.min(...times);
    return { name, best, median: times.toSorted((a, b) => a - b)[times.length >> 1], timesFast: best / fast, error: errors.get(name) };
  });
}

function callOf(part: DiffusionModel) {
  const parsed = modelConfig(PixArtConfigSchema, part.config, part.part, part.configPath);
  const config = { ...parsed, num_layers: Number(values.blocks) };
  const side = Number(values.size) / 8;
  const size = { batch: 2, latentHeight: side, latentWidth: side, captionTokens: 300, timesteps: 1 };
  const generator = new TorchGenerator(1);
  const latents = generator.randn([2, config.in_channels, side, side]);
  const encoderHiddenStates = generator.randn([2, 300, config.caption_channels ?? config.cross_attention_dim]);
  const attentionMask = [Array<number>(300).fill(1), Array<number>(300).fill(1)];
  const inputs = {
    ...pixArtConstantInputs(config, size, { encoderHiddenStates, attentionMask }),
    ...pixArtStepInputs(latents, [500]),
  };
  return { config, size, inputs };
}

function relativeError(got: Float32Array, want: Float32Array): number {
  let [difference, base] = [0, 0];
  for (const [i, value] of want.entries()) {
    difference += ((got[i] as number) - value) ** 2;
    base += value ** 2;
  }
  return Math.sqrt(difference / base);
}

/** A process that runs one round for each line that it is sent, and answers with seconds by name. */
function startPeer(command: string) {
  const [program = "", ...args] = command.split(" ");
  const { stdin, stdout } = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  const answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  return {
    async round(): Promise<Record<string, number>> {
      stdin.write("\n");
      const { done, value } = await answers.next();
      if (done) throw new Error("the peer ended before its answer");
      return JSON.parse(value) as Record<string, number>;
    },
    stop: () => stdin.end(),
  };
}
