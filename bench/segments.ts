/**
 * What it costs to run a large part segment by segment: the transformer of a checkpoint as one program and as one program a segment,
 * resident and streamed, alternately in one run.
 *
 * usage: node bench/segments.ts MODEL [--size 512] [--blocks 8] [--rounds 3] (Node 22.18 or newer; MODEL as reference/true_size.py writes it)
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type PixArtConfig, PixArtConfigSchema } from "../src/models/pixart/config.ts";
import { pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../src/models/pixart/model.ts";
import { modelConfig } from "../src/models/registry.ts";
import { DiffusionModel } from "../src/pipelines/diffusion-model.ts";
import { Executor, finish, type HoldPlan } from "../src/runtime/executor.ts";
import { onnxRuntimeNode } from "../src/runtime/onnxruntime-node.ts";
import { floatTensor } from "../src/tensor/tensor.ts";
import { describeRun } from "./machine.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: "string", default: "512" },
    blocks: { type: "string", default: "8" },
    rounds: { type: "string", default: "3" },
  },
});
const PLANS: Record<string, HoldPlan> = {
  "one program, resident": { hold: "resident", segmentsPerProgram: 1000 },
  "a program a segment, streamed": { hold: "streamed", segmentsPerProgram: 1 },
  "a program a segment, resident": { hold: "resident", segmentsPerProgram: 1 },
};

const model = await DiffusionModel.fromPretrained(positionals[0] ?? "", { subfolder: "transformer" });
const config: PixArtConfig = {
  ...modelConfig(PixArtConfigSchema, model.config, model.part, model.configPath),
  num_layers: Number(values.blocks),
};
const side = Number(values.size) / 8;
const size = { batch: 2, latentHeight: side, latentWidth: side, captionTokens: 300, timesteps: 1 };
const latents = floatTensor(
  [2, 4, side, side],
  Float32Array.from({ length: 8 * side * side }, (_, i) => Math.sin(i)),
);
const caption = floatTensor([2, 300, config.caption_channels ?? 1152]);
const mask = [Array<number>(300).fill(1), Array<number>(300).fill(1)];
const inputs = {
  ...pixArtConstantInputs(config, size, { encoderHiddenStates: caption, attentionMask: mask }),
  ...pixArtStepInputs(latents, [500]),
};

const rows: { plan: string; seconds: number[]; anonymousBytes: number }[] = [];
for (const [plan, hold] of Object.entries(PLANS)) rows.push({ plan, ...(await time(hold)) });
await model.dispose();
writeFileSync("bench/results/segments.json", `${JSON.stringify({ run: describeRun(), settings: values, rows }, undefined, 2)}\n`);
console.table(rows.map((row) => ({ plan: row.plan, best: Math.min(...row.seconds).toFixed(2), anonymousMB: row.anonymousBytes / 1e6 })));

/** Seconds of each round, and the anonymous memory that is held after the last. */
async function time(hold: HoldPlan): Promise<{ seconds: number[]; anonymousBytes: number }> {
  const executor = new Executor(onnxRuntimeNode(), pixArtTransformer(model.weights(), config, "float32", size), hold);
  const seconds: number[] = [];
  for (let round = 0; round <= Number(values.rounds); round++) {
    const started = performance.now();
    await finish(executor.run(inputs));
    // The first round warms the page cache.
    if (round > 0) seconds.push((performance.now() - started) / 1000);
  }
  const anonymousBytes = readAnonymous();
  await executor.dispose();
  return { seconds, anonymousBytes };
}

function readAnonymous(): number {
  return Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024;
}
