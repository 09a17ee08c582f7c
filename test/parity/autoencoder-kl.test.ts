import { describe, it } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import { AutoencoderKLConfigSchema } from "../../src/models/autoencoder-kl/config.ts";
import { autoencoderKLDecoder, autoencoderKLEncoder } from "../../src/models/autoencoder-kl/model.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { expectClose } from "../support/compare.ts";
import { type FixtureCase, type FixtureTensor, readFixture } from "../support/fixture.ts";
import { openFixtureModel, runModel, withIntermediates } from "../support/model.ts";
import { TOLERANCES } from "../support/tolerances.ts";

describe.each(["vae", "vae-16", "vae-no-attention"])("AutoencoderKL %s", async (name) => {
  const cases = readFixture(`models/${name}/io`);

  it.each(cases.filter(({ inputs }) => inputs.latents !== undefined))("$name", async (found) => {
    const { outputs } = await call(name, found, "latents");
    compare(outputs.sample as Float32Array, found, "sample");
    compareIntermediates(outputs, found, { conv_in: "decoder.conv_in", mid_block: "decoder.mid_block" }, "decoder.up_blocks");
  });

  it.each(cases.filter(({ inputs }) => inputs.picture !== undefined))("$name", async (found) => {
    const { outputs, batch } = await call(name, found, "picture");
    const moments = outputs.moments as Float32Array;
    const perPicture = moments.length / batch;
    const half = (from: number) =>
      Float32Array.from({ length: moments.length / 2 }, (_, i) => {
        const picture = Math.floor(i / (perPicture / 2));
        return moments[picture * perPicture + from + (i % (perPicture / 2))] as number;
      });
    compare(half(0), found, "mean");
    compare(half(perPicture / 2), found, "logvar");
    compareIntermediates(outputs, found, { conv_in: "encoder.conv_in", mid_block: "encoder.mid_block" }, "encoder.down_blocks");
  });
});

function compare(got: Float32Array, found: FixtureCase, output: string): void {
  expectClose(got, found.outputs[output]?.values as Float32Array, TOLERANCES.modelRelativeRms, output);
}

function compareIntermediates(
  outputs: Record<string, Float32Array>,
  found: FixtureCase,
  segments: Record<string, string>,
  blocks: string,
): void {
  for (const output of Object.keys(found.outputs)) {
    const block = /_block_(\d+)$/.exec(output)?.[1];
    const segment = segments[output] ?? (block === undefined ? undefined : `${blocks}.${block}`);
    if (segment !== undefined) compare(outputs[`${segment}/hidden`] as Float32Array, found, output);
  }
}

async function call(name: string, found: FixtureCase, input: "latents" | "picture") {
  const { config, weights } = await openFixtureModel(`models/${name}`, "diffusion_pytorch_model");
  const parsed = parseConfig(AutoencoderKLConfigSchema, config, "vae config", name);
  const { shape, values } = found.inputs[input] as FixtureTensor;
  const [batch, , height, width] = shape as [number, number, number, number];
  const size = { batch, height, width };
  const tensor = floatTensor(shape, values);
  const model =
    input === "latents"
      ? autoencoderKLDecoder(weights, parsed, found.dtype, size)
      : autoencoderKLEncoder(weights, parsed, found.dtype, size);
  const inputs = input === "latents" ? { latents: tensor } : { sample: tensor };
  return { batch, outputs: await runModel(withIntermediates(model, "hidden"), { ...inputs }) };
}
