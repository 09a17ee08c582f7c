import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import { T5ConfigSchema, UMT5ConfigSchema } from "../../src/models/t5/config.ts";
import { t5Encoder, t5Inputs, umt5Encoder } from "../../src/models/t5/model.ts";
import { relativePositionBucket } from "../../src/models/t5/relative-position.ts";
import type { HoldPlan } from "../../src/runtime/executor.ts";
import { expectClose } from "../support/compare.ts";
import { type FixtureCase, type FixtureTensor, readFixture } from "../support/fixture.ts";
import { openFixtureModel, runModel, withIntermediates } from "../support/model.ts";
import { TOLERANCES } from "../support/tolerances.ts";

const MODELS = ["t5", "t5-relu", "t5-rounding", "t5-float16", "t5-bfloat16", "umt5", "umt5-rounding"];

describe.each(MODELS)("the encoder of %s", async (name) => {
  const cases = readFixture(`models/${name}/io`);
  it.each(cases)("$name", async (found) => {
    const outputs = await encode(name, found);
    expectClose(outputs.hidden as Float32Array, values(found, "last_hidden_state"), TOLERANCES.modelRelativeRms, "last_hidden_state");
    for (const [output, { values: want }] of Object.entries(found.outputs)) {
      const layer = /^hidden_(\d+)$/.exec(output)?.[1];
      // transformers reports the last layer's hidden state after the final norm.
      if (layer === undefined || outputs[segmentOf(Number(layer))] === undefined) continue;
      expectClose(outputs[segmentOf(Number(layer))] as Float32Array, want, TOLERANCES.modelRelativeRms, output);
    }
  });
});

it.each(["t5", "umt5"])("%s gives the same numbers whole and streamed segment by segment", async (name) => {
  const [found] = readFixture(`models/${name}/io`) as [FixtureCase];
  const whole = await encode(name, found, { hold: "resident", segmentsPerProgram: 99 });
  const streamed = await encode(name, found, { hold: "streamed", segmentsPerProgram: 1 });
  expect(streamed.hidden).toEqual(whole.hidden);
});

describe("relative position buckets", async () => {
  const cases = readFixture("models/layers/t5-relative-bias/io").filter(({ outputs }) => outputs.bucket !== undefined);
  it.each(cases)("$name", (found) => {
    const { numBuckets, maxDistance } = found.meta as unknown as { numBuckets: number; maxDistance: number };
    const positions = found.inputs.relative_position?.integers as number[];
    const got = positions.map((position) => relativePositionBucket(position, numBuckets, maxDistance));
    expect(got).toEqual(found.outputs.bucket?.integers);
  });
});

function segmentOf(layer: number): string {
  return layer === 0 ? "embed_tokens/hidden" : `encoder.block.${layer - 1}/hidden`;
}

function values(found: FixtureCase, output: string): Float32Array {
  return found.outputs[output]?.values as Float32Array;
}

async function encode(name: string, found: FixtureCase, plan?: HoldPlan): Promise<Record<string, Float32Array>> {
  const { config, weights } = await openFixtureModel(`models/${name}`, "model");
  const [schema, encoder] = name.startsWith("umt5") ? ([UMT5ConfigSchema, umt5Encoder] as const) : ([T5ConfigSchema, t5Encoder] as const);
  const parsed = parseConfig(schema, config, "text_encoder config", name);
  const { shape, integers } = found.inputs.input_ids as FixtureTensor;
  const [batch = 0, tokens = 0] = shape;
  const rows = (all: number[]) => Array.from({ length: batch }, (_, i) => all.slice(i * tokens, (i + 1) * tokens));
  const mask = found.inputs.attention_mask?.integers ?? integers.map(() => 1);
  const model = encoder(weights, parsed, found.dtype, { batch, tokens });
  return runModel(withIntermediates(model, "hidden"), t5Inputs(parsed, rows(integers), rows(mask)), plan);
}
