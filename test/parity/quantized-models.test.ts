import { describe, it } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import { readTensor, type StoredTensor } from "../../src/checkpoint/stored-tensor.ts";
import { Weights, type WeightTable } from "../../src/checkpoint/weights.ts";
import { buildGraphs, type ModelGraph } from "../../src/graph/segment.ts";
import { AuraFlowConfigSchema } from "../../src/models/auraflow/config.ts";
import { auraFlowConstantInputs, auraFlowStepInputs, auraFlowTransformer } from "../../src/models/auraflow/model.ts";
import { ClipTextConfigSchema } from "../../src/models/clip/config.ts";
import { clipTextInputs, clipTextModelWithProjection } from "../../src/models/clip/model.ts";
import { PixArtConfigSchema } from "../../src/models/pixart/config.ts";
import { pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../../src/models/pixart/model.ts";
import { type T5Config, T5ConfigSchema, UMT5ConfigSchema } from "../../src/models/t5/config.ts";
import { t5Encoder, t5Inputs, umt5Encoder } from "../../src/models/t5/model.ts";
import { findQType } from "../../src/quant/qtype.ts";
import { quantizeWeight } from "../../src/quant/quantize-weight.ts";
import type { ComputeDType } from "../../src/tensor/dtype.ts";
import { floatTensor, type Tensor } from "../../src/tensor/tensor.ts";
import { expectClose } from "../support/compare.ts";
import { type FixtureCase, type FixtureTensor, readFixture } from "../support/fixture.ts";
import { openFixtureTable, runModel } from "../support/model.ts";
import { sd3Call } from "../support/sd3.ts";
import { TOLERANCES } from "../support/tolerances.ts";

interface QuantizedCase {
  model: keyof typeof CALLS;
  case: string;
  qtype: string;
  exclude?: string;
}

interface Call {
  model: (weights: Weights) => ModelGraph;
  inputs: Record<string, Tensor>;
}

const DIFFUSERS = "diffusion_pytorch_model";

const CALLS = {
  t5: { callOf: t5Call, file: "model", output: "hidden" },
  umt5: { callOf: umt5Call, file: "model", output: "hidden" },
  clip: { callOf: clipCall, file: "model", output: "text_embeds" },
  "pixart-sigma": { callOf: pixArtCall, file: DIFFUSERS, output: "sample" },
  "sd35-medium": { callOf: sd3Call, file: DIFFUSERS, output: "sample" },
  "sd3-wide": { callOf: sd3Call, file: DIFFUSERS, output: "sample" },
  auraflow: { callOf: auraFlowCall, file: DIFFUSERS, output: "sample" },
} as const;

describe("a quantized model calculates what Quanto's does", () => {
  const cases = ["io", "auraflow"].flatMap((file) => readFixture(`quantized/${file}`));
  it.each(cases)("$name", async (found) => {
    await compare(found, false);
  });

  it.each(cases.filter(({ name }) => name.startsWith("sd3-wide-float32-")))("$name, projections fused", async (found) => {
    await compare(found, true);
  });

  async function compare(found: FixtureCase, fusesQkv: boolean): Promise<void> {
    const meta = found.meta as unknown as QuantizedCase;
    const { callOf, file, output } = CALLS[meta.model];
    const { config, table } = await openFixtureTable(`models/${meta.model}`, file);
    const inputs = readFixture(`models/${meta.model}/io`).find(({ name }) => name === meta.case) as FixtureCase;
    const call = callOf(config, inputs, found.dtype);
    const quantized = await quantizeTable(table, call.model(Weights.of(table)), found.dtype, meta);
    const outputs = await runModel(call.model(Weights.of({ ...quantized, fusesQkv })), call.inputs);
    expectClose(outputs[output] as Float32Array, found.outputs.output?.values as Float32Array, TOLERANCES.modelRelativeRms, "output");
  }
});

/** The table with the weight of every layer replaced by its quantized tensors, in memory. */
async function quantizeTable(table: WeightTable, model: ModelGraph, dtype: ComputeDType, meta: QuantizedCase): Promise<WeightTable> {
  const tensors = new Map(table.tensors);
  const qtypes = new Map<string, string>();
  for (const { name, shape, keepPrecision } of buildGraphs(model, 1).flatMap(({ graph }) => graph.modules)) {
    if (name === meta.exclude) continue;
    const stored = table.tensors.get(`${name}.weight`) as StoredTensor;
    const spec = { name: stored.name, shape, dtype: keepPrecision ? "float32" : dtype, qtype: findQType(meta.qtype) } as const;
    const { data, scale, shift } = quantizeWeight(await readTensor(stored), spec, stored.dtype);
    tensors.delete(stored.name);
    qtypes.set(name, meta.qtype);
    for (const part of [data, scale, ...(shift === undefined ? [] : [shift])]) {
      const full = `${name}.weight.${part.key}`;
      const source = memorySource(full, part.bytes);
      tensors.set(full, { name: full, dtype: part.dtype, shape: part.shape, source, offset: 0, sizeBytes: part.bytes.length });
    }
  }
  return { ...table, tensors, qtypes };
}

function t5Call(config: Record<string, unknown>, found: FixtureCase, dtype: ComputeDType): Call {
  return encoderCall(parseConfig(T5ConfigSchema, config, "text_encoder config", "t5"), t5Encoder, found, dtype);
}

function umt5Call(config: Record<string, unknown>, found: FixtureCase, dtype: ComputeDType): Call {
  return encoderCall(parseConfig(UMT5ConfigSchema, config, "text_encoder config", "umt5"), umt5Encoder, found, dtype);
}

function encoderCall(config: T5Config, encoder: typeof t5Encoder, found: FixtureCase, dtype: ComputeDType): Call {
  const { shape, integers } = found.inputs.input_ids as FixtureTensor;
  const [batch = 0, tokens = 0] = shape;
  const rows = (all: readonly number[]) => Array.from({ length: batch }, (_, i) => all.slice(i * tokens, (i + 1) * tokens));
  const mask = found.inputs.attention_mask as FixtureTensor;
  return {
    model: (weights) => encoder(weights, config, dtype, { batch, tokens }),
    inputs: t5Inputs(config, rows(integers), rows(mask.integers)),
  };
}

function clipCall(config: Record<string, unknown>, found: FixtureCase, dtype: ComputeDType): Call {
  const parsed = parseConfig(ClipTextConfigSchema, config, "text_encoder config", "clip");
  const { shape, integers } = found.inputs.input_ids as FixtureTensor;
  const [batch = 0, tokens = 0] = shape;
  const ids = Array.from({ length: batch }, (_, i) => integers.slice(i * tokens, (i + 1) * tokens));
  return {
    model: (weights) => clipTextModelWithProjection(weights, parsed, dtype, { batch, tokens }),
    inputs: clipTextInputs(parsed, ids),
  };
}

function pixArtCall(config: Record<string, unknown>, found: FixtureCase, dtype: ComputeDType): Call {
  const parsed = parseConfig(PixArtConfigSchema, config, "transformer config", "pixart");
  const { hidden_states, timestep, encoder_hidden_states, encoder_attention_mask } = found.inputs as Record<string, FixtureTensor>;
  if (!hidden_states || !timestep || !encoder_hidden_states || !encoder_attention_mask) throw new Error("the fixture has changed");
  const [batch = 0, , latentHeight = 0, latentWidth = 0] = hidden_states.shape;
  const [, captionTokens = 0] = encoder_hidden_states.shape;
  const size = { batch, latentHeight, latentWidth, captionTokens, timesteps: timestep.integers.length };
  const attentionMask = Array.from({ length: batch }, (_, i) =>
    encoder_attention_mask.integers.slice(i * captionTokens, (i + 1) * captionTokens),
  );
  const encoderHiddenStates = floatTensor(encoder_hidden_states.shape, encoder_hidden_states.values);
  return {
    model: (weights) => pixArtTransformer(weights, parsed, dtype, size),
    inputs: {
      ...pixArtConstantInputs(parsed, size, { encoderHiddenStates, attentionMask }),
      ...pixArtStepInputs(floatTensor(hidden_states.shape, hidden_states.values), timestep.integers),
    },
  };
}

function auraFlowCall(config: Record<string, unknown>, found: FixtureCase, dtype: ComputeDType): Call {
  const parsed = parseConfig(AuraFlowConfigSchema, config, "transformer config", "auraflow");
  const { hidden_states, timestep, encoder_hidden_states } = found.inputs as Record<string, FixtureTensor>;
  if (!hidden_states || !timestep || !encoder_hidden_states) throw new Error("the fixture has changed");
  const [batch = 0, , latentHeight = 0, latentWidth = 0] = hidden_states.shape;
  const textTokens = encoder_hidden_states.shape[1] as number;
  const size = { batch, latentHeight, latentWidth, textTokens, timesteps: batch };
  return {
    model: (weights) => auraFlowTransformer(weights, parsed, dtype, size),
    inputs: {
      ...auraFlowConstantInputs(parsed, size, floatTensor(encoder_hidden_states.shape, encoder_hidden_states.values)),
      ...auraFlowStepInputs(floatTensor(hidden_states.shape, hidden_states.values), Array.from(timestep.values)),
    },
  };
}
