/** Decoding in strips is decoding: the same numbers as the whole decoder and as diffusers, whatever the strips. */
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import type { Weights } from "../../src/checkpoint/weights.ts";
import { type AutoencoderKLConfig, AutoencoderKLConfigSchema } from "../../src/models/autoencoder-kl/config.ts";
import { autoencoderKLDecoder } from "../../src/models/autoencoder-kl/model.ts";
import { StripDecoder } from "../../src/pipelines/strip-decoder.ts";
import { finish } from "../../src/runtime/executor.ts";
import { memoryFeatureMap, type OpenFeatureMap } from "../../src/runtime/feature-map.ts";
import { fileFeatureMaps } from "../../src/runtime/feature-map-node.ts";
import { onnxRuntimeNode } from "../../src/runtime/onnxruntime-node.ts";
import type { ComputeDType } from "../../src/tensor/dtype.ts";
import { type FloatTensor, floatTensor } from "../../src/tensor/tensor.ts";
import { expectClose } from "../support/compare.ts";
import { type FixtureTensor, readFixture } from "../support/fixture.ts";
import { openFixtureModel, runModel } from "../support/model.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const MAPS = { memory: memoryFeatureMap, file: fileFeatureMaps() };
/** Latent sizes: square, odd, and as flat or narrow as can be. */
const SIZES = [
  [8, 8],
  [5, 7],
  [1, 6],
  [6, 1],
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

  describe.each(SIZES)("%i x %i latents", (height, width) => {
    it.each([2, 4, 6, 10, 16, 1000])("is the whole decoder with strips of %i rows", async (rows) => {
      const { config, weights } = await open(name);
      const latents = drawn(config, height, width);
      const whole = await runModel(autoencoderKLDecoder(weights, config, "float32", { batch: 1, height, width }), { latents });
      for (const [kind, openMap] of Object.entries(MAPS)) {
        const sample = await decode({ config, weights, dtype: "float32", rows, openMap }, latents);
        expectClose(sample, whole.sample as Float32Array, TOLERANCES.modelRelativeRms, `sample, maps in ${kind}`);
      }
    });
  });
});

describe("other configs", () => {
  // The same weights read as another decoder: what the widths of its blocks allow.
  it("decodes in one level, which has no upsampler", async () => {
    const { config, weights } = await open("vae");
    const [first] = config.block_out_channels.toReversed();
    const one: AutoencoderKLConfig = { ...config, block_out_channels: [first as number], down_block_types: [], up_block_types: [] };
    expect(() => autoencoderKLDecoder(weights, one, "float32", { batch: 1, height: 4, width: 4 })).not.toThrow();
  });
});

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
