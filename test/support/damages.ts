/** What goes wrong with a checkpoint's folder, and what a user is then told; each damage is done to a copy of the tiny pipeline. */
import { readFileSync, rmSync, truncateSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Caught } from "./caught.ts";

/** A damage. */
export interface Damage {
  readonly name: string;
  readonly damage: (folder: string) => void;
  /** The whole error, for a folder at this path. */
  readonly error: (folder: string) => Caught;
}

const TRANSFORMER_WEIGHTS = "transformer/diffusion_pytorch_model.safetensors";

/** All damages that opening a pipeline must find. */
export const DAMAGES: readonly Damage[] = [
  {
    name: "a missing folder",
    damage: (folder) => rmSync(folder, { recursive: true }),
    error: (folder) => ({
      kind: "CheckpointError",
      message: `model folder "${folder}" does not exist`,
      where: folder,
      hint: "a model id on the Hub has the form owner/name",
    }),
  },
  {
    name: "a missing config",
    damage: (folder) => unlinkSync(path.join(folder, "transformer/config.json")),
    error: (folder) => ({
      kind: "CheckpointError",
      message: '"config.json" is missing',
      where: `${folder}/transformer`,
      hint: "a model folder has diffusers' layout, with model_index.json",
    }),
  },
  {
    name: "a missing tokenizer",
    damage: (folder) => rmSync(path.join(folder, "tokenizer"), { recursive: true }),
    error: (folder) => ({
      kind: "CheckpointError",
      message: "the tokenizer has neither tokenizer.json nor spiece.model",
      where: `${folder}/tokenizer`,
      hint: "the download may be incomplete; get the tokenizer's files again",
    }),
  },
  {
    name: "a corrupt tokenizer",
    damage: (folder) => writeFileSync(path.join(folder, "tokenizer/spiece.model"), "no protobuf"),
    error: (folder) => ({
      kind: "CheckpointError",
      message: "the sentencepiece model is damaged: expected a protobuf message of 11 bytes, got one that breaks off or is another format",
      where: `${folder}/tokenizer/spiece.model`,
      hint: "get the tokenizer's files again",
    }),
  },
  {
    name: "wrong JSON",
    damage: (folder) => writeFileSync(path.join(folder, "vae/config.json"), '{"in_channels": 3'),
    error: (folder) => ({
      kind: "CheckpointError",
      message: 'the file is not JSON at line 1, column 18: expected "," or "}", got the end',
      where: `${folder}/vae/config.json`,
    }),
  },
  {
    name: "a file cut inside its header",
    damage: (folder) => truncateSync(path.join(folder, TRANSFORMER_WEIGHTS), 5000),
    error: (folder) => ({
      kind: "CheckpointError",
      message: "the header says it has 5720 bytes, but the file has 5000",
      where: `${folder}/${TRANSFORMER_WEIGHTS}`,
      hint: "the file was cut short or damaged: get it again",
    }),
  },
  {
    name: "a file cut inside its weights",
    damage: (folder) => truncateSync(path.join(folder, TRANSFORMER_WEIGHTS), 20_000),
    error: (folder) => ({
      kind: "CheckpointError",
      message: 'tensor "adaln_single.emb.timestep_embedder.linear_1.weight" ends at byte 32896 of the data, of which the file has 14272',
      where: `${folder}/${TRANSFORMER_WEIGHTS}`,
      hint: "the file was cut short or damaged: get it again",
    }),
  },
  {
    name: "an unknown pipeline",
    damage: (folder) => writeFileSync(path.join(folder, "model_index.json"), '{"_class_name": "PixartSigmaPipeline"}'),
    error: (folder) => ({
      kind: "UnsupportedError",
      message: "the model is a PixartSigmaPipeline, which halftone does not run",
      where: `${folder}/model_index.json`,
      hint: "the nearest pipeline it runs is PixArtSigmaPipeline",
    }),
  },
  {
    name: "a config that contradicts the weights",
    damage: (folder) => editConfig(folder, { num_layers: 3 }),
    error: (folder) => ({
      kind: "CheckpointError",
      message: 'transformer weight "transformer_blocks.2.scale_shift_table" is missing',
      where: `${folder}/${TRANSFORMER_WEIGHTS}`,
      hint: 'the nearest name there is "transformer_blocks.0.scale_shift_table"',
    }),
  },
  {
    name: "a config option that is not supported",
    damage: (folder) => editConfig(folder, { norm_type: "ada_norm_zero" }),
    error: (folder) => ({
      kind: "UnsupportedError",
      message: 'transformer config has norm_type = "ada_norm_zero", expected "ada_norm_single"',
      where: `${folder}/transformer/config.json`,
    }),
  },
  {
    name: "an unknown scheduler",
    damage: (folder) => {
      const file = path.join(folder, "model_index.json");
      const index = JSON.parse(readFileSync(file, "utf8")) as object;
      writeFileSync(file, JSON.stringify({ ...index, scheduler: ["diffusers", "HeunDiscreteScheduler"] }));
    },
    error: (folder) => ({
      kind: "UnsupportedError",
      message:
        'scheduler class is "HeunDiscreteScheduler", expected one of DDIMScheduler, DPMSolverMultistepScheduler, ' +
        "EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler",
      where: `${folder}/scheduler/scheduler_config.json`,
      hint: "did you mean EulerDiscreteScheduler?",
    }),
  },
];

/** Changes options of the transformer's config. */
export function editConfig(folder: string, changes: Record<string, unknown>): void {
  const file = path.join(folder, "transformer/config.json");
  writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, "utf8")) as object), ...changes }));
}
