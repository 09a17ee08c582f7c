/**
 * What it costs to run a large part in several programs: the transformer of a checkpoint as one program and as programs of some segments each,
 * kept and streamed, alternately in one run.
 *
 * usage: node bench/segments.ts MODEL [--size 512] [--blocks 12] [--tokens 20] [--rounds 5] (Node 22.18 or newer; MODEL as reference/true_size.py writes it)
 * Writes bench/results/segments.json, size by size, and prints a Markdown table.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type PixArtConfig, PixArtConfigSchema } from "../src/models/pixart/config.ts";
import { pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../src/models/pixart/model.ts";
import { modelConfig } from "../src/models/registry.ts";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import { DiffusionModel } from "../src/pipelines/diffusion-model.ts";
import { Executor, finish, type HoldPlan } from "../src/runtime/executor.ts";
import { onnxRuntimeNode } from "../src/runtime/onnxruntime-node.ts";
import { floatTensor } from "../src/tensor/tensor.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: "string", default: "512" },
    blocks: { type: "string", default: "12" },
    tokens: { type: "string", default: "20" },
    rounds: { type: "string", default: "5" },
  },
});
/** How a call is held; with two calls, each is of one half of guidance. */
const PLANS: Record<string, HoldPlan & { calls?: number }> = {
  "one, kept": { hold: "resident", segmentsPerProgram: 1000 },
  "one, kept, guidance in two calls": { hold: "resident", segmentsPerProgram: 1000, calls: 2 },
  "four segments each, streamed": { hold: "streamed", segmentsPerProgram: 4 },
  "a segment each, streamed": { hold: "streamed", segmentsPerProgram: 1 },
  "a segment each, kept": { hold: "resident", segmentsPerProgram: 1 },
};

const model = await DiffusionModel.fromPretrained(positionals[0] ?? "", { subfolder: "transformer" });
const config: PixArtConfig = {
  ...modelConfig(PixArtConfigSchema, model.config, model.part, model.configPath),
  num_layers: Number(values.blocks),
};
const tokens = Number(values.tokens);
const side = Number(values.size) / 8;
const sizeOf = (batch: number) => ({ batch, latentHeight: side, latentWidth: side, captionTokens: tokens, timesteps: 1 });
const inputsOf = (batch: number) => {
  const latents = floatTensor(
    [batch, 4, side, side],
    Float32Array.from({ length: batch * 4 * side * side }, (_, i) => Math.sin(i)),
  );
  const caption = floatTensor([batch, tokens, config.caption_channels ?? 1152]);
  const mask = Array.from({ length: batch }, () => Array<number>(tokens).fill(1));
  return {
    ...pixArtConstantInputs(config, sizeOf(batch), { encoderHiddenStates: caption, attentionMask: mask }),
    ...pixArtStepInputs(latents, [500]),
  };
};

const plans: Plan[] = Object.entries(PLANS).map(([name, { calls = 1, ...hold }]) => ({ name, hold, calls, rounds: [] }));
const kept = new Map<Plan, Executor>();
// The first round compiles, and warms the page cache.
for (let round = 0; round <= Number(values.rounds); round++) {
  for (const plan of plans) await measure(plan, round > 0);
}
for (const executor of kept.values()) await executor.dispose();

const best = (plan: Plan | undefined, key: "seconds" | "cpuSeconds") => Math.min(...(plan?.rounds ?? []).map((round) => round[key]));
const rows = plans.map((plan) => ({
  plan: plan.name,
  seconds: best(plan, "seconds"),
  ratio: best(plan, "seconds") / best(plans[0], "seconds"),
  cpuSeconds: best(plan, "cpuSeconds"),
  peakMB: executorOf(plan).plan.peakBytes / 1e6,
  rounds: plan.rounds,
}));
await model.dispose();
const RESULTS = "bench/results/segments.json";
const results: Record<string, object> = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, "utf8")) : {};
results[values.size] = { run: describeMachine(), settings: values, rows };
writeFileSync(RESULTS, `${JSON.stringify(results, undefined, 2)}\n`);
console.log("| programs | seconds | against one | CPU seconds | predicted peak, MB |\n|---|---|---|---|---|");
for (const { plan, seconds, ratio, cpuSeconds, peakMB } of rows)
  console.log(`| ${plan} | ${seconds.toFixed(2)} | ${ratio.toFixed(2)} | ${cpuSeconds.toFixed(1)} | ${peakMB.toFixed(0)} |`);

interface Plan {
  readonly name: string;
  readonly hold: HoldPlan;
  readonly calls: number;
  readonly rounds: { seconds: number; cpuSeconds: number }[];
}

function executorOf({ hold, calls }: Plan): Executor {
  return new Executor(onnxRuntimeNode(), pixArtTransformer(model.weights(), config, "float32", sizeOf(2 / calls)), hold);
}

/** One step; programs that are to be kept stay compiled from round to round. */
async function measure(plan: Plan, counts: boolean): Promise<void> {
  const executor = kept.get(plan) ?? executorOf(plan);
  const inputs = inputsOf(2 / plan.calls);
  kept.set(plan, executor);
  const [started, before] = [performance.now(), process.cpuUsage()];
  for (let call = 0; call < plan.calls; call++) await finish(executor.run(inputs));
  const { user, system } = process.cpuUsage(before);
  if (counts) plan.rounds.push({ seconds: (performance.now() - started) / 1000, cpuSeconds: (user + system) / 1e6 });
}
