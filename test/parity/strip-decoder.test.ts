/** Decoding in strips is decoding: the same numbers as the whole decoder and as diffusers, whatever the strips. */
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import { Weights } from "../../src/checkpoint/weights.ts";
import { type AutoencoderKLConfig, AutoencoderKLConfigSchema } from "../../src/models/autoencoder-kl/config.ts";
import { autoencoderKLDecoder } from "../../src/models/autoencoder-kl/model.ts";
import { StripDecoder } from "../../src/pipelines/strip-decoder.ts";
import { finish } from "../../src/runtime/executor.ts";
import { memoryFeatureMap, type OpenFeatureMap } from "../../src/runtime/feature-map.ts";
import { fileFeatureMaps } from "../../src/runtime/feature-map-node.ts";
import { onnxRuntimeNode } from "../../src/runtime/onnxruntime-node.ts";
import type { ComputeDType } from "../../src/tensor/dtype.ts";
import { elementCount, type FloatTensor, floatTensor } from "../../src/tensor/tensor.ts";
import { expectClose } from "../support/compare.ts";
import { CountingRuntime } from "../support/counting-runtime.ts";
import { type FixtureTensor, readFixture } from "../support/fixture.ts";
import { openFixtureModel, runModel } from "../support/model.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const MAPS = { memory: memoryFeatureMap, file: fileFeatureMaps() };
/** Latent sizes and rows of a strip: odd sizes, sizes that rows divide and that they don't, pictures as flat and as narrow as can be. */
const STRIPS = [
  { height: 4, width: 8, rows: 2, maps: "memory" },
  { height: 5, width: 7, rows: 4, maps: "file" },
  { height: 5, width: 7, rows: 6, maps: "memory" },
  { height: 5, width: 7, rows: 1000, maps: "file" },
  { height: 1, width: 6, rows: 6, maps: "memory" },
  { height: 6, width: 1, rows: 10, maps: "file" },
] as const;

describe.each(["vae", "vae-16", "vae-no-attention"])("AutoencoderKL %s in strips", async (name) => {
  const cases = readFixture(`models/${name}/io`).filter(({ inputs }) => inputs.latents !== undefined);

  it.each(cases)("is diffusers' $name", async (found) => {
    const { config, weights } = await open(name);
    const { shape, values } = found.inputs.latents as FixtureTensor;
    const [batch, channels, height, width] = shape as [number, number, number, number];
    const perPicture = channels * height * width;
    const samples: number[] = [];
    for (let i = 0; i < batch; i++) {
      const one = floatTensor([1, channels, height, width], values.slice(i * perPicture, (i + 1) * perPicture));
      samples.push(...(await decode({ config, weights, dtype: found.dtype, rows: 6, openMap: memoryFeatureMap }, one)));
    }
    expectClose(samples, found.outputs.sample?.values as Float32Array, TOLERANCES.modelRelativeRms, "sample");
  });

  it.each(STRIPS)("is the whole decoder: $height x $width latents in strips of $rows rows, maps in $maps", async (strips) => {
    const { config, weights } = await open(name);
    await expectWhole(config, weights, strips);
  });
});

describe("a decoder of random weights in strips", () => {
  const base = { up_block_types: [], down_block_types: [], latent_channels: 4, norm_num_groups: 4, layers_per_block: 1 };
  it.each([
    ["one level, which has no upsampler", { block_out_channels: [8] }],
    ["levels of the same width", { block_out_channels: [8, 8, 8] }],
    ["wider levels at full size than before", { block_out_channels: [16, 8, 12] }],
    ["more channels than have their kernels summed at a time", { block_out_channels: [8, 256] }],
    ["three layers and one more", { block_out_channels: [8, 16], layers_per_block: 3 }],
    ["a group for each channel, no convolution of the latents", { block_out_channels: [4, 4], use_post_quant_conv: false }],
  ])("is the whole decoder: %s", async (_, changes) => {
    const blocks = changes.block_out_channels.map(() => ["DownEncoderBlock2D", "UpDecoderBlock2D"]);
    const types = { down_block_types: blocks.map(([down]) => down), up_block_types: blocks.map(([, up]) => up) };
    const config = parseConfig(AutoencoderKLConfigSchema, { ...base, ...changes, ...types }, "config", "test");
    await expectWhole(config, randomWeights(config), { height: 7, width: 5, rows: 6, maps: "memory" });
  });
});

describe("what the decoder holds", () => {
  /** Maps that count how many are open. */
  function counting(): { open: number; opened: number; openMap: OpenFeatureMap } {
    const count = {
      open: 0,
      opened: 0,
      openMap: async (shape: Parameters<OpenFeatureMap>[0]) => {
        const map = await memoryFeatureMap(shape);
        count.open++;
        count.opened++;
        const dispose = async () => {
          count.open--;
          await map.dispose();
        };
        return { ...map, dispose };
      },
    };
    return count;
  }

  async function follow(until: (done: number) => boolean, change: (runtime: CountingRuntime, abort: () => void) => void = () => {}) {
    const { config, weights } = await open("vae");
    const runtime = new CountingRuntime(onnxRuntimeNode({ threads: 1 }));
    const controller = new AbortController();
    change(runtime, () => controller.abort());
    const maps = counting();
    const decoder = new StripDecoder({ runtime, weights, config, dtype: "float32", height: 4, width: 4, rows: 8, openMap: maps.openMap });
    const steps: number[] = [];
    const run = async () => {
      for await (const { done, total } of decoder.run({ latents: drawn(config, 4, 4) }, controller.signal)) {
        steps.push(done / total);
        if (until(done)) break;
      }
    };
    return { runtime, maps, steps, controller, run };
  }

  it("is one program at a time, and nothing at its end; every strip is told", async () => {
    const { runtime, maps, steps, run } = await follow(() => false);
    await run();
    expect(runtime).toMatchObject({ held: 0, mostHeld: 1 });
    expect(steps).toHaveLength(runtime.runs + 1);
    expect(steps.at(-1)).toBe(1);
    expect(maps.opened).toBeGreaterThan(3);
    expect(maps.open).toBe(0);
  });

  it.each([0, 1, 10, 30])("is nothing when the caller leaves after %i strips", async (strips) => {
    const { runtime, maps, run } = await follow((done) => done === strips);
    await run();
    expect(runtime).toMatchObject({ held: 0, runs: strips });
    expect(maps.open).toBe(0);
  });

  it("is nothing when it is stopped on request, between two strips", async () => {
    const { runtime, maps, controller, run } = await follow((done) => {
      if (done === 7) controller.abort();
      return false;
    });
    await expect(run()).rejects.toThrow("stopped on request");
    expect(runtime).toMatchObject({ held: 0, runs: 7 });
    expect(maps.open).toBe(0);
  });

  it.each(["failAtRun", "failAtCompile"] as const)("is nothing when the engine fails: %s", async (what) => {
    const { runtime, maps, run } = await follow(
      () => false,
      (counted) => {
        counted[what] = 9;
      },
    );
    await expect(run()).rejects.toThrow("planted failure");
    expect(runtime.held).toBe(0);
    expect(maps.open).toBe(0);
  });
});

interface Strips {
  readonly height: number;
  readonly width: number;
  readonly rows: number;
  readonly maps: keyof typeof MAPS;
}

async function expectWhole(config: AutoencoderKLConfig, weights: Weights, { height, width, rows, maps }: Strips): Promise<void> {
  const latents = drawn(config, height, width);
  const whole = await runModel(autoencoderKLDecoder(weights, config, "float32", { batch: 1, height, width }), { latents });
  const sample = await decode({ config, weights, dtype: "float32", rows, openMap: MAPS[maps] }, latents);
  expectClose(sample, whole.sample as Float32Array, TOLERANCES.modelRelativeRms, "sample");
}

async function open(name: string): Promise<{ config: AutoencoderKLConfig; weights: Weights }> {
  const { config, weights } = await openFixtureModel(`models/${name}`, "diffusion_pytorch_model");
  return { config: parseConfig(AutoencoderKLConfigSchema, config, "vae config", name), weights };
}

function drawn(config: AutoencoderKLConfig, height: number, width: number): FloatTensor {
  const length = config.latent_channels * height * width;
  return floatTensor(
    [1, config.latent_channels, height, width],
    Float32Array.from({ length }, (_, i) => 2 * Math.sin(i * i * 0.37 + 1)),
  );
}

interface Decoding {
  readonly config: AutoencoderKLConfig;
  readonly weights: Weights;
  readonly dtype: ComputeDType;
  readonly rows: number;
  readonly openMap: OpenFeatureMap;
}

async function decode(options: Decoding, latents: FloatTensor): Promise<Float32Array> {
  const [, , height = 0, width = 0] = latents.shape;
  const decoder = new StripDecoder({ ...options, runtime: onnxRuntimeNode({ threads: 1 }), height, width });
  const { sample } = await finish(decoder.run({ latents }));
  return sample?.data as Float32Array;
}

/** Random weights of every shape that the decoder asks for, under the names of checkpoints that are older than diffusers 0.18. */
function randomWeights(config: AutoencoderKLConfig): Weights {
  const channels = config.block_out_channels.toReversed();
  const [top = 0] = channels;
  const shapes: Record<string, number[]> = {};
  const conv = (name: string, out: number, into: number, kernel: number) => {
    Object.assign(shapes, { [`${name}.weight`]: [out, into, kernel, kernel], [`${name}.bias`]: [out] });
  };
  const vectors = (name: string, width: number) => Object.assign(shapes, { [`${name}.weight`]: [width], [`${name}.bias`]: [width] });
  const resnet = (name: string, out: number, into: number) => {
    vectors(`${name}.norm1`, into);
    conv(`${name}.conv1`, out, into, 3);
    vectors(`${name}.norm2`, out);
    conv(`${name}.conv2`, out, out, 3);
    if (out !== into) conv(`${name}.conv_shortcut`, out, into, 1);
  };
  if (config.use_post_quant_conv) conv("post_quant_conv", config.latent_channels, config.latent_channels, 1);
  conv("decoder.conv_in", top, config.latent_channels, 3);
  for (const j of [0, 1]) resnet(`decoder.mid_block.resnets.${j}`, top, top);
  const attention = "decoder.mid_block.attentions.0";
  vectors(`${attention}.group_norm`, top);
  for (const name of ["query", "key", "value", "proj_attn"]) {
    Object.assign(shapes, { [`${attention}.${name}.weight`]: [top, top], [`${attention}.${name}.bias`]: [top] });
  }
  for (const [i, out] of channels.entries()) {
    const block = `decoder.up_blocks.${i}`;
    for (let j = 0; j <= config.layers_per_block; j++) resnet(`${block}.resnets.${j}`, out, j === 0 ? (channels[i - 1] ?? top) : out);
    if (i < channels.length - 1) conv(`${block}.upsamplers.0.conv`, out, out, 3);
  }
  vectors("decoder.conv_norm_out", channels.at(-1) as number);
  conv("decoder.conv_out", config.out_channels, channels.at(-1) as number, 3);

  let seed = 1;
  const tensors = Object.entries(shapes).map(([name, shape]) => {
    const values = Float32Array.from({ length: elementCount(shape) }, () => Math.sin((seed++) ** 1.5) / Math.sqrt(shape[1] ?? 1));
    const source = memorySource(name, new Uint8Array(values.buffer));
    return [name, { name, dtype: "float32", shape, source, offset: 0, sizeBytes: values.byteLength }] as const;
  });
  return Weights.of({ component: "vae", name: "test", tensors: new Map(tensors) });
}
