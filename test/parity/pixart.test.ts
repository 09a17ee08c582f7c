import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import { PixArtConfigSchema } from "../../src/models/pixart/config.ts";
import { type PixArtSize, pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../../src/models/pixart/model.ts";
import { sinCosPositionEmbedding, timestepEmbedding } from "../../src/nn/position-embedding.ts";
import type { HoldPlan } from "../../src/runtime/executor.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { expectClose } from "../support/compare.ts";
import { type FixtureCase, type FixtureTensor, readFixture } from "../support/fixture.ts";
import { openFixtureModel, runModel, withIntermediates } from "../support/model.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const MODELS = ["pixart-sigma", "pixart-64", "pixart-alpha", "pixart-rounding", "pixart-bfloat16", "pixart-sharded"];

describe.each(MODELS)("PixArtTransformer2DModel %s", async (name) => {
  const cases = readFixture(`models/${name}/io`);
  it.each(cases)("$name", async (found) => {
    const outputs = await predict(name, found);
    expectClose(outputs.sample as Float32Array, wanted(found, "sample"), TOLERANCES.modelRelativeRms, "sample");
    for (const [output, { values }] of Object.entries(found.outputs)) {
      const block = /^block_(\d+)$/.exec(output)?.[1];
      const segment = output === "pos_embed" ? "embed" : block === undefined ? undefined : `transformer_blocks.${block}`;
      if (segment !== undefined) expectClose(outputs[`${segment}/hidden`] as Float32Array, values, TOLERANCES.modelRelativeRms, output);
    }
  });
});

it("gives the same numbers whole and streamed segment by segment", async () => {
  const [found] = readFixture("models/pixart-sigma/io") as [FixtureCase];
  const whole = await predict("pixart-sigma", found, { hold: "resident", segmentsPerProgram: 99 });
  const streamed = await predict("pixart-sigma", found, { hold: "streamed", segmentsPerProgram: 1 });
  const pairs = await predict("pixart-sigma", found, { hold: "resident", segmentsPerProgram: 2 });
  expect(streamed.sample).toEqual(whole.sample);
  expect(pairs.sample).toEqual(whole.sample);
});

function wanted(found: FixtureCase, output: string): Float32Array {
  return found.outputs[output]?.values as Float32Array;
}

async function predict(name: string, found: FixtureCase, plan?: HoldPlan): Promise<Record<string, Float32Array>> {
  const { config, weights } = await openFixtureModel(`models/${name}`, "diffusion_pytorch_model");
  const parsed = parseConfig(PixArtConfigSchema, config, "transformer config", name);
  const latents = input(found, "hidden_states");
  const captions = input(found, "encoder_hidden_states");
  const [batch = 0, , latentHeight = 0, latentWidth = 0] = latents.shape;
  const [, captionTokens = 0] = captions.shape;
  const timesteps = input(found, "timestep").integers;
  const size: PixArtSize = { batch, latentHeight, latentWidth, captionTokens, timesteps: timesteps.length };
  const mask = input(found, "encoder_attention_mask").integers;
  const { resolution, aspect_ratio } = found.inputs;
  const conditions =
    resolution === undefined || aspect_ratio === undefined
      ? undefined
      : { resolution: Array.from(resolution.values), aspectRatio: Array.from(aspect_ratio.values) };
  const constant = pixArtConstantInputs(parsed, size, {
    encoderHiddenStates: floatTensor(captions.shape, captions.values),
    attentionMask: Array.from({ length: batch }, (_, i) => mask.slice(i * captionTokens, (i + 1) * captionTokens)),
    ...(conditions === undefined ? {} : { conditions }),
  });
  const model = withIntermediates(pixArtTransformer(weights, parsed, found.dtype, size), "hidden");
  return runModel(model, { ...constant, ...pixArtStepInputs(floatTensor(latents.shape, latents.values), timesteps) }, plan);
}

interface PositionCase {
  embedDim: number;
  latentHeight: number;
  latentWidth: number;
  patchSize: number;
  baseSize: number;
  interpolationScale: number;
}

function input(found: FixtureCase, name: string): FixtureTensor {
  return found.inputs[name] as FixtureTensor;
}

describe("embeddings", async () => {
  it.each(readFixture("models/layers/position-embedding/io"))("position $name", (found) => {
    const meta = found.meta as unknown as PositionCase;
    const [output] = Object.values(found.outputs) as [FixtureTensor];
    const got = sinCosPositionEmbedding(meta.embedDim, {
      gridHeight: Math.floor(meta.latentHeight / meta.patchSize),
      gridWidth: Math.floor(meta.latentWidth / meta.patchSize),
      baseSize: meta.baseSize,
      interpolationScale: meta.interpolationScale,
    });
    expectClose(got.data, output.values, 1e-7, "position embedding");
  });

  it.each(readFixture("models/layers/timesteps/io"))("timesteps $name", (found) => {
    const [input] = Object.values(found.inputs) as [FixtureTensor];
    const [output] = Object.values(found.outputs) as [FixtureTensor];
    const got = timestepEmbedding(input.integers.length > 0 ? input.integers : Array.from(input.values), output.shape[1] as number);
    expectClose(got.data, output.values, TOLERANCES.layerRelativeRms, "timesteps");
  });
});
