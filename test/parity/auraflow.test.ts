import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import { Weights } from "../../src/checkpoint/weights.ts";
import { AuraFlowConfigSchema, feedForwardWidth } from "../../src/models/auraflow/config.ts";
import { type AuraFlowSize, auraFlowConstantInputs, auraFlowStepInputs, auraFlowTransformer } from "../../src/models/auraflow/model.ts";
import type { HoldPlan } from "../../src/runtime/executor.ts";
import { floatTensor } from "../../src/tensor/tensor.ts";
import { caught } from "../support/caught.ts";
import { expectClose } from "../support/compare.ts";
import { type FixtureCase, type FixtureTensor, readFixture } from "../support/fixture.ts";
import { openFixtureTable, runModel, withIntermediates } from "../support/model.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const MODELS = ["auraflow", "auraflow-rounding", "auraflow-joint"];

describe.each(MODELS)("AuraFlowTransformer2DModel %s", async (name) => {
  it.each(readFixture(`models/${name}/io`))("$name", async (found) => {
    const outputs = await predict(name, found);
    expectClose(outputs.sample as Float32Array, wanted(found, "sample"), TOLERANCES.modelRelativeRms, "sample");
    for (const [output, { values }] of Object.entries(found.outputs)) {
      const place = placeOf(output);
      if (place !== undefined) expectClose(outputs[place] as Float32Array, values, TOLERANCES.modelRelativeRms, output);
    }
  });
});

it("gives the same numbers whole and streamed segment by segment", async () => {
  const [found] = readFixture("models/auraflow/io") as [FixtureCase];
  const whole = await predict("auraflow", found, { plan: { hold: "resident", segmentsPerProgram: 99 } });
  const streamed = await predict("auraflow", found, { plan: { hold: "streamed", segmentsPerProgram: 1 } });
  expect(streamed.sample).toEqual(whole.sample);
});

it("gives the same numbers with fused projections", async () => {
  const [found] = readFixture("models/auraflow/io") as [FixtureCase];
  const plain = await predict("auraflow", found);
  const fused = await predict("auraflow", found, { fusesQkv: true });
  expectClose(fused.sample as Float32Array, plain.sample as Float32Array, 1e-6, "sample");
});

it("takes one timestep for all pictures", async () => {
  const [found] = readFixture("models/auraflow/io") as [FixtureCase];
  const each = await predict("auraflow", found, { timesteps: [0.25, 0.25] });
  const shared = await predict("auraflow", found, { timesteps: [0.25] });
  expectClose(shared.sample as Float32Array, each.sample as Float32Array, 1e-6, "sample");
});

it("refuses a picture that has more patches a side than there are positions", () => {
  const config = parseConfig(AuraFlowConfigSchema, { pos_embed_max_size: 50 }, "transformer config", "config.json");
  const size = { batch: 1, latentHeight: 14, latentWidth: 16, textTokens: 1, timesteps: 1 };
  expect(() => auraFlowConstantInputs(config, size, floatTensor([1, 1, 2048]))).toThrow(
    "the latents of 14 x 16 have 7 x 8 patches, and the transformer has positions for 7 x 7",
  );
});

it("refuses a text that is projected to another width than the blocks have", async () => {
  const error = await caught(() => parseConfig(AuraFlowConfigSchema, { caption_projection_dim: 768 }, "transformer config", "config.json"));
  expect(error.message).toBe("transformer config has caption_projection_dim = 768, expected num_attention_heads * attention_head_dim");
});

it("rounds the width of the feed-forward up to a multiple of 256", () => {
  expect([8, 48, 96, 97, 192, 3072].map(feedForwardWidth)).toEqual([256, 256, 256, 512, 512, 8192]);
});

/** Where the value of a module of the reference is found here. */
function placeOf(output: string): string | undefined {
  if (output === "pos_embed") return "embed/hidden";
  const [, kind, block, part] = /^(joint|single)_(\d+)(?:\.(\d))?$/.exec(output) ?? [];
  return kind && `${kind}_transformer_blocks.${block}/${part === "0" ? "text" : "hidden"}`;
}

function wanted(found: FixtureCase, output: string): Float32Array {
  return found.outputs[output]?.values as Float32Array;
}

async function predict(
  name: string,
  found: FixtureCase,
  { plan, fusesQkv = false, timesteps: given }: { plan?: HoldPlan; fusesQkv?: boolean; timesteps?: number[] } = {},
): Promise<Record<string, Float32Array>> {
  const { config, table } = await openFixtureTable(`models/${name}`, "diffusion_pytorch_model");
  const parsed = parseConfig(AuraFlowConfigSchema, config, "transformer config", name);
  const { hidden_states: latents, encoder_hidden_states: text, timestep } = found.inputs as Record<string, FixtureTensor>;
  if (latents === undefined || text === undefined || timestep === undefined) throw new Error("the fixture has changed");
  const [batch = 0, , latentHeight = 0, latentWidth = 0] = latents.shape;
  const timesteps = given ?? Array.from(timestep.values);
  const size: AuraFlowSize = { batch, latentHeight, latentWidth, textTokens: text.shape[1] as number, timesteps: timesteps.length };
  const model = auraFlowTransformer(Weights.of({ ...table, fusesQkv }), parsed, found.dtype, size);
  const inputs = {
    ...auraFlowConstantInputs(parsed, size, floatTensor(text.shape, text.values)),
    ...auraFlowStepInputs(floatTensor(latents.shape, latents.values), timesteps),
  };
  return runModel(withIntermediates(withIntermediates(model, "hidden"), "text"), inputs, plan);
}
