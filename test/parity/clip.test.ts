import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import { Weights } from "../../src/checkpoint/weights.ts";
import { ClipTextConfigSchema } from "../../src/models/clip/config.ts";
import { type ClipTextSize, clipTextInputs, clipTextModel, clipTextModelWithProjection } from "../../src/models/clip/model.ts";
import type { HoldPlan } from "../../src/runtime/executor.ts";
import { expectClose } from "../support/compare.ts";
import { type FixtureCase, type FixtureTensor, readFixture } from "../support/fixture.ts";
import { openFixtureModel, openFixtureTable, runModel, withIntermediates } from "../support/model.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const MODELS = ["clip", "clip-gelu", "clip-rounding", "clip-bfloat16", "clip-text-model"];

describe.each(MODELS)("CLIP text encoder %s", async (name) => {
  const cases = readFixture(`models/${name}/io`);
  it.each(cases)("$name", async (found) => {
    const outputs = await encode(name, found, {}, { isWatched: true });
    const pooled = found.outputs.text_embeds === undefined ? "pooler_output" : "text_embeds";
    expectClose(got(outputs, pooled), values(found, pooled), TOLERANCES.modelRelativeRms, pooled);
    expectClose(got(outputs, "hidden_state"), values(found, "last_hidden_state"), TOLERANCES.modelRelativeRms, "last_hidden_state");
    for (const [index, segment] of segmentsOf(found).entries()) {
      expectClose(got(outputs, `${segment}/hidden`), values(found, `hidden_${index}`), TOLERANCES.modelRelativeRms, segment);
    }
  });
});

describe("the hidden state that is asked for", async () => {
  const [found] = readFixture("models/clip-gelu/io") as [FixtureCase];
  it.each([0, 1, 2, 3, -1, -2, -3, -4])("%i", async (hiddenState) => {
    const outputs = await encode("clip-gelu", found, { hiddenState });
    const index = hiddenState < 0 ? hiddenState + 4 : hiddenState;
    expect(Object.keys(outputs).sort()).toEqual(["hidden_state", "text_embeds"]);
    expectClose(got(outputs, "hidden_state"), values(found, `hidden_${index}`), TOLERANCES.modelRelativeRms, "hidden_state");
    expectClose(got(outputs, "text_embeds"), values(found, "text_embeds"), TOLERANCES.modelRelativeRms, "text_embeds");
  });

  it.each([4, -5, 0.5])("%f is refused", async (hiddenState) => {
    await expect(encode("clip-gelu", found, { hiddenState })).rejects.toThrow(
      `a CLIP text encoder of 3 layers has the hidden states -4 to 3, got ${hiddenState}`,
    );
  });
});

it.each([undefined, -1, -2, -3])("gives the same numbers whole and streamed, hidden state %s", async (hiddenState) => {
  const [found] = readFixture("models/clip/io") as [FixtureCase];
  const whole = await encode("clip", found, { hiddenState }, { plan: { hold: "resident", segmentsPerProgram: 99 } });
  const streamed = await encode("clip", found, { hiddenState }, { plan: { hold: "streamed", segmentsPerProgram: 1 } });
  expect(streamed).toEqual(whole);
});

it("CLIPTextModel is read with the prefix that its files had before transformers 5.6, too", async () => {
  const [found] = readFixture("models/clip-text-model/io") as [FixtureCase];
  const { config, table } = await openFixtureTable("models/clip-text-model", "model");
  const tensors = new Map([...table.tensors].map(([name, tensor]) => [`text_model.${name}`, { ...tensor, name: `text_model.${name}` }]));
  const parsed = parseConfig(ClipTextConfigSchema, config, "text_encoder config", "clip-text-model");
  const ids = idsOf(found);
  const model = clipTextModel(Weights.of({ ...table, tensors }), parsed, "float32", { batch: ids.length, tokens: ids[0]?.length ?? 0 });
  const outputs = await runModel(model, clipTextInputs(parsed, ids));
  expectClose(got(outputs, "pooler_output"), values(found, "pooler_output"), TOLERANCES.modelRelativeRms, "pooler_output");
});

it("padding changes nothing in the rows of the text, since a token sees no later one", async () => {
  const { config, weights } = await openFixtureModel("models/clip", "model");
  const parsed = parseConfig(ClipTextConfigSchema, config, "text_encoder config", "clip");
  const text = [94, 5, 6, 7, 95];
  const run = (ids: number[]) =>
    runModel(clipTextModelWithProjection(weights, parsed, "float32", { batch: 1, tokens: ids.length }), clipTextInputs(parsed, [ids]));
  const [short, padded] = [await run(text), await run([...text, 0, 0, 0])];
  expectClose(got(padded, "text_embeds"), got(short, "text_embeds"), TOLERANCES.modelRelativeRms, "text_embeds");
  const rows = got(padded, "hidden_state").subarray(0, text.length * parsed.hidden_size);
  expectClose(rows, got(short, "hidden_state"), TOLERANCES.modelRelativeRms, "hidden_state");
});

describe("the end of the text", () => {
  it.each([
    [
      "the first eos",
      95,
      [
        [94, 5, 95, 95],
        [94, 95, 6, 95],
      ],
      [2, 5],
    ],
    ["the first token where there is no eos", 95, [[94, 5, 6, 7]], [0]],
    [
      "the first highest id, for the id of older configs",
      2,
      [
        [94, 2, 95, 95],
        [94, 5, 96, 95],
        [7, 7, 2, 0],
      ],
      [2, 6, 8],
    ],
  ] as const)("is %s", (_, eos_token_id, ids, want) => {
    const config = parseConfig(ClipTextConfigSchema, { eos_token_id }, "config", "config.json");
    expect([...(clipTextInputs(config, ids).eos_rows?.data ?? [])].map(Number)).toEqual(want);
  });
});

describe("configs", () => {
  const parse = (config: object) => parseConfig(ClipTextConfigSchema, config, "text_encoder config", "config.json");
  it("takes transformers' defaults", () => {
    expect(parse({})).toEqual({
      vocab_size: 49408,
      hidden_size: 512,
      intermediate_size: 2048,
      projection_dim: 512,
      num_hidden_layers: 12,
      num_attention_heads: 8,
      max_position_embeddings: 77,
      hidden_act: "quick_gelu",
      layer_norm_eps: 1e-5,
      eos_token_id: 49407,
    });
  });
  it.each([
    [{ hidden_act: "gelu_new" }, 'text_encoder config has hidden_act = "gelu_new", expected "quick_gelu" or "gelu"'],
    [
      { hidden_size: 10, num_attention_heads: 4 },
      "text_encoder config is an object, expected a hidden_size that is a multiple of num_attention_heads",
    ],
    [{ eos_token_id: [1, 2] }, "text_encoder config has eos_token_id = a list of 2, expected an integer"],
  ])("refuses %j", (config, message) => {
    expect(() => parse(config)).toThrow(message);
  });
  it("refuses more tokens than there are positions", () => {
    const weights = Weights.of({ component: "text_encoder", name: "model.safetensors", tensors: new Map() });
    expect(() => clipTextModel(weights, parse({}), "float32", { batch: 1, tokens: 78 })).toThrow(
      "a CLIP text encoder takes at most 77 tokens, got 78",
    );
  });
});

/** Segments whose output the fixture holds, by the index of the hidden state. */
function segmentsOf(found: FixtureCase): string[] {
  const layers = Object.keys(found.outputs).filter((name) => /^hidden_\d+$/.test(name)).length - 1;
  return layers < 0 ? [] : ["embeddings", ...Array.from({ length: layers }, (_, i) => `encoder.layers.${i}`)];
}

function idsOf(found: FixtureCase): number[][] {
  const { shape, integers } = found.inputs.input_ids as FixtureTensor;
  const [batch = 0, tokens = 0] = shape;
  return Array.from({ length: batch }, (_, i) => integers.slice(i * tokens, (i + 1) * tokens));
}

function values(found: FixtureCase, output: string): Float32Array {
  return found.outputs[output]?.values as Float32Array;
}

function got(outputs: Record<string, Float32Array>, name: string): Float32Array {
  return outputs[name] as Float32Array;
}

async function encode(
  name: string,
  found: FixtureCase,
  wanted: Pick<ClipTextSize, "hiddenState">,
  options: { plan?: HoldPlan; isWatched?: boolean } = {},
): Promise<Record<string, Float32Array>> {
  const { config, weights } = await openFixtureModel(`models/${name}`, "model");
  const parsed = parseConfig(ClipTextConfigSchema, config, "text_encoder config", name);
  const ids = idsOf(found);
  const build = name === "clip-text-model" ? clipTextModel : clipTextModelWithProjection;
  const model = build(weights, parsed, found.dtype, { batch: ids.length, tokens: ids[0]?.length ?? 0, ...wanted });
  return runModel(options.isWatched ? withIntermediates(model, "hidden") : model, clipTextInputs(parsed, ids), options.plan);
}
