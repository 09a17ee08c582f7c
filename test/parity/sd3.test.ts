import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import { Weights } from "../../src/checkpoint/weights.ts";
import { buildGraphs } from "../../src/graph/segment.ts";
import { SD3ConfigSchema } from "../../src/models/sd3/config.ts";
import { sd3Transformer } from "../../src/models/sd3/model.ts";
import type { HoldPlan } from "../../src/runtime/executor.ts";
import { caught } from "../support/caught.ts";
import { expectClose } from "../support/compare.ts";
import { type FixtureCase, readFixture } from "../support/fixture.ts";
import { openFixtureModel, openFixtureTable, runModel, withIntermediates } from "../support/model.ts";
import { sd3Call } from "../support/sd3.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const MODELS = ["sd3", "sd35-medium", "sd35-rounding", "sd35-bfloat16", "sd3-wide"];

describe.each(MODELS)("SD3Transformer2DModel %s", async (name) => {
  it.each(readFixture(`models/${name}/io`))("$name", async (found) => {
    const outputs = await predict(name, found);
    for (const [output, { values }] of Object.entries(found.outputs)) {
      const got = outputs[output.replace(/\.(?=hidden$|context$)/, "/")];
      expectClose(got as Float32Array, values, TOLERANCES.modelRelativeRms, output);
    }
  });
});

it("gives the same numbers whole and streamed segment by segment", async () => {
  const [found] = readFixture("models/sd35-medium/io") as [FixtureCase];
  const whole = await predict("sd35-medium", found, { plan: { hold: "resident", segmentsPerProgram: 99 } });
  const streamed = await predict("sd35-medium", found, { plan: { hold: "streamed", segmentsPerProgram: 1 } });
  const pairs = await predict("sd35-medium", found, { plan: { hold: "resident", segmentsPerProgram: 2 } });
  expect(streamed.sample).toEqual(whole.sample);
  expect(pairs.sample).toEqual(whole.sample);
});

it.each(MODELS)("%s: fused projections give the same numbers with fewer products", async (name) => {
  const [found] = readFixture(`models/${name}/io`) as [FixtureCase];
  const apart = await predict(name, found);
  const fused = await predict(name, found, { fusesQkv: true });
  expectClose(fused.sample as Float32Array, apart.sample as Float32Array, 1e-6, "sample");

  const { config, table } = await openFixtureTable(`models/${name}`, "diffusion_pytorch_model");
  const { model } = sd3Call(config, found, found.dtype);
  const products = (fusesQkv: boolean) =>
    buildGraphs(model(Weights.of({ ...table, fusesQkv })), 99).flatMap(({ graph }) =>
      graph.nodes.filter(({ operator }) => operator === "FusedMatMul"),
    ).length;
  const { num_layers, dual_attention_layers } = parsedConfig(config);
  expect(products(false) - products(true)).toBe(2 * (2 * num_layers + dual_attention_layers.length));
});

it("asks for every tensor of the checkpoint", async () => {
  const [found] = readFixture("models/sd35-medium/io") as [FixtureCase];
  const { config, weights } = await openFixtureModel("models/sd35-medium", "diffusion_pytorch_model");
  buildGraphs(sd3Call(config, found, "float32").model(weights), 99);
  expect(weights.unused()).toEqual([]);
});

it("refuses a picture larger than the stored position embedding", async () => {
  const { config, weights } = await openFixtureModel("models/sd3", "diffusion_pytorch_model");
  const size = { batch: 1, latentHeight: 26, latentWidth: 4, textTokens: 1, timesteps: 1 };
  const error = await caught(() => sd3Transformer(weights, parsedConfig(config), "float32", size));
  expect(error.message).toBe("latents of 26 x 4 exceed the transformer's position embedding, which covers 24 x 24");
});

describe("configs", () => {
  it.each([
    ["another norm of queries and keys", { qk_norm: "layer_norm" }, 'qk_norm = "layer_norm", expected "rms_norm"'],
    ["a position embedding that is not stored", { pos_embed_max_size: null }, "pos_embed_max_size = null, expected an integer"],
    [
      "text of another width than the blocks",
      { caption_projection_dim: 64 },
      "caption_projection_dim = 64, expected 1152 as the blocks have (num_attention_heads * attention_head_dim)",
    ],
  ])("%s is refused by name", async (_, options, message) => {
    expect((await caught(() => parsedConfig(options))).message).toBe(`transformer config has ${message}`);
  });

  it("has the class's defaults", () => {
    expect(parsedConfig({})).toMatchObject({ num_layers: 18, num_attention_heads: 18, pos_embed_max_size: 96, dual_attention_layers: [] });
  });
});

function parsedConfig(config: Record<string, unknown>) {
  return parseConfig(SD3ConfigSchema, config, "transformer config", "config.json");
}

async function predict(
  name: string,
  found: FixtureCase,
  { plan, fusesQkv = false }: { plan?: HoldPlan; fusesQkv?: boolean } = {},
): Promise<Record<string, Float32Array>> {
  const { config, table } = await openFixtureTable(`models/${name}`, "diffusion_pytorch_model");
  const { model, inputs } = sd3Call(config, found, found.dtype);
  const built = model(Weights.of({ ...table, fusesQkv }));
  const asked = Object.keys(found.outputs).some((output) => output.endsWith(".context"));
  if (!asked || plan !== undefined) return runModel(built, inputs, plan);
  return runModel(withIntermediates(withIntermediates(built, "hidden"), "context"), inputs);
}
