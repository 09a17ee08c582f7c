/**
 * Where a step's time goes: blocks of a checkpoint's transformer as one program under the engine's profiler, time by operator.
 *
 * usage: node bench/profile.ts MODEL [--size 512] [--blocks 4] [--tokens 20] [--rounds 4] (Node 22.18 or newer; MODEL as reference/true_size.py
 * writes it, its weights in one file)
 * Writes bench/results/profile.json, by the number of tokens, and prints a Markdown table.
 */
import "../src/runtime/no-telemetry-node.ts";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import ort from "onnxruntime-node";
import { encodeOnnx } from "../src/graph/onnx.ts";
import { modelPieces } from "../src/graph/segment.ts";
import { PixArtConfigSchema } from "../src/models/pixart/config.ts";
import { pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../src/models/pixart/model.ts";
import { modelConfig } from "../src/models/registry.ts";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";
import { DiffusionModel } from "../src/pipelines/diffusion-model.ts";
import { floatTensor } from "../src/tensor/tensor.ts";

const RESULTS = "bench/results/profile.json";
const number = (value: string) => ({ type: "string", default: value }) as const;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { size: number("512"), blocks: number("4"), tokens: number("20"), rounds: number("4") },
});
const [side, tokens, rounds] = [Number(values.size) / 8, Number(values.tokens), Number(values.rounds)];
const model = await DiffusionModel.fromPretrained(positionals[0] ?? "", { subfolder: "transformer" });
const config = { ...modelConfig(PixArtConfigSchema, model.config, model.part, model.configPath), num_layers: Number(values.blocks) };
const size = { batch: 2, latentHeight: side, latentWidth: side, captionTokens: tokens, timesteps: 1 };
const latents = Float32Array.from({ length: 8 * side * side }, (_, i) => Math.sin(i));
const inputs = {
  ...pixArtConstantInputs(config, size, {
    encoderHiddenStates: floatTensor([2, tokens, config.caption_channels ?? 1152]),
    attentionMask: [Array<number>(tokens).fill(1), Array<number>(tokens).fill(1)],
  }),
  ...pixArtStepInputs(floatTensor([2, 4, side, side], latents), [500]),
};
const [piece] = modelPieces(pixArtTransformer(model.weights(), config, "float32", size), 1000);
const graph = piece?.build();
const weightFolder = model.tensors[0]?.source.file?.folder;
if (piece === undefined || graph === undefined || weightFolder === undefined) throw new Error("MODEL must be a folder");

const folder = mkdtempSync(path.join(tmpdir(), "halftone-profile-"));
const session = await ort.InferenceSession.create(
  encodeOnnx(graph, ({ source, offset }) => ({ location: source.file?.fileName ?? "", offset })),
  {
    graphOptimizationLevel: "disabled",
    enableMemPattern: false,
    enableProfiling: true,
    profileFilePrefix: path.join(folder, "profile"),
    extra: { session: { disable_prepacking: "1", model_external_initializers_file_folder_path: weightFolder } },
  },
);
const feeds = Object.fromEntries(
  Object.entries(inputs)
    .filter(([name]) => piece.inputs.includes(name))
    .map(([name, { dtype, data, shape }]) => [name, new ort.Tensor(dtype as "float32", data as Float32Array, shape)]),
);
for (let round = 0; round < rounds; round++) await session.run(feeds);
session.endProfiling();
await session.release();
const [file = ""] = readdirSync(folder);
const events = JSON.parse(readFileSync(path.join(folder, file), "utf8")) as { name: string; dur: number; args: { op_name?: string } }[];
rmSync(folder, { recursive: true });

const milliseconds = new Map<string, number>();
for (const { name, dur, args } of events) {
  if (!name.endsWith("_kernel_time") || args.op_name === undefined) continue;
  milliseconds.set(args.op_name, (milliseconds.get(args.op_name) ?? 0) + dur / 1000 / rounds);
}
const total = [...milliseconds.values()].reduce((sum, value) => sum + value, 0);
const operators = Array.from(milliseconds, ([operator, ms]) => ({ operator, ms, share: ms / total })).sort((a, b) => b.ms - a.ms);
const results: Record<string, object> = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, "utf8")) : {};
results[values.tokens] = { run: describeMachine(), settings: values, totalMs: total, operators };
writeFileSync(RESULTS, `${JSON.stringify(results, undefined, 2)}\n`);
console.log(`${total.toFixed(0)} ms\n\n| operator | ms | share |\n|---|---|---|`);
for (const { operator, ms, share } of operators.slice(0, 12))
  console.log(`| ${operator} | ${ms.toFixed(1)} | ${(100 * share).toFixed(1)} % |`);
await model.dispose();
