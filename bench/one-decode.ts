/**
 * Decodes latents once, in one way: what bench/vae-strips.ts runs in a process of its own, so that memory can be told apart.
 *
 * usage: node bench/one-decode.ts SETTINGS-AS-JSON
 * Prints a line of JSON when the VAE is open, and one when the picture is decoded; writes the sample's float32 values to `output`.
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { AutoencoderKLConfigSchema, vaeScaleFactor } from "../src/models/autoencoder-kl/config.ts";
import { autoencoderKLDecoder } from "../src/models/autoencoder-kl/model.ts";
import { modelConfig } from "../src/models/registry.ts";
import type { DecodeWay } from "../src/pipelines/decode-ways.ts";
import { DiffusionModel } from "../src/pipelines/diffusion-model.ts";
import { StripDecoder } from "../src/pipelines/strip-decoder.ts";
import { Executor, finish } from "../src/runtime/executor.ts";
import { memoryFeatureMap } from "../src/runtime/feature-map.ts";
import { fileFeatureMaps } from "../src/runtime/feature-map-node.ts";
import { memoryUse } from "../src/runtime/memory-node.ts";
import { onnxRuntimeNode } from "../src/runtime/onnxruntime-node.ts";
import { elementCount, type FloatTensor, floatTensor } from "../src/tensor/tensor.ts";

/** What to do. */
export interface DecodeSettings {
  readonly vae: string;
  readonly size: number;
  readonly way: DecodeWay;
  readonly threads: number | undefined;
  readonly output: string;
}

const { vae, size, way, threads, output } = JSON.parse(process.argv[2] ?? "{}") as DecodeSettings;
const say = (line: object) => console.log(JSON.stringify({ at: Date.now(), anonymousBytes: memoryUse().anonymousBytes, ...line }));

const model = await DiffusionModel.fromPretrained(vae);
const config = modelConfig(AutoencoderKLConfigSchema, model.config, model.part, model.configPath);
const side = size / vaeScaleFactor(config);
const shape = [1, config.latent_channels, side, side];
const latents = floatTensor(
  shape,
  Float32Array.from({ length: elementCount(shape) }, (_, i) => 2 * Math.sin(i * i * 0.37)),
);
const [weights, runtime, dtype] = [model.weights(), onnxRuntimeNode({ threads }), model.dtype];
const common = { runtime, weights, config, dtype, height: side, width: side };
const decoder =
  way.kind === "whole"
    ? new Executor(runtime, autoencoderKLDecoder(weights, config, dtype, { batch: 1, height: side, width: side }))
    : new StripDecoder({ ...common, rows: way.rows, openMap: way.maps === "memory" ? memoryFeatureMap : fileFeatureMaps() });
// The page cache is to be warm for every way.
for (const { source, offset, sizeBytes } of model.tensors) await source.read(offset, sizeBytes);
gc?.();
say({ phase: "start" });
const before = process.cpuUsage();
const { sample } = await finish(decoder.run({ latents }));
const { user, system } = process.cpuUsage(before);
say({ phase: "decode", cpuSeconds: (user + system) / 1e6 });
await decoder.dispose();
say({ phase: "release" });
writeFileSync(output, new Uint8Array((sample as FloatTensor).data.buffer as ArrayBuffer));
await model.dispose();
