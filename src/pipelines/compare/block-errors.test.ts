/** Errors of blocks, found block by block, against the same numbers from whole runs that show every block's output. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { withIntermediates } from "../../../test/support/model.ts";
import { PixArtConfigSchema } from "../../models/pixart/config.ts";
import { pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../../models/pixart/model.ts";
import { modelConfig } from "../../models/registry.ts";
import { T5ConfigSchema } from "../../models/t5/config.ts";
import { t5Encoder, t5Inputs } from "../../models/t5/model.ts";
import { TorchGenerator } from "../../random/torch-generator.ts";
import { Executor, finish } from "../../runtime/executor.ts";
import type { FloatTensor, Tensor } from "../../tensor/tensor.ts";
import { demoModelFolder } from "../demo-node.ts";
import type { DiffusionModel } from "../diffusion-model.ts";
import { callModel } from "../model-call.ts";
import { type OpenedPipeline, openPipeline } from "../open-pipeline.ts";
import { modelOf } from "../parts.ts";
import type { PipelineClass } from "../pipeline-class.ts";
import { quantizeParts } from "../quantization.ts";
import { blockErrors } from "./block-errors.ts";
import type { Recording } from "./recording.ts";

const STREAMED = { hold: "streamed", segmentsPerProgram: 1 } as const;
const SIZE = { batch: 2, latentHeight: 8, latentWidth: 8, captionTokens: 5, timesteps: 1 };
const TOKENS = [
  [5, 9, 13, 1],
  [7, 1, 0, 0],
];
const MASKS = TOKENS.map((ids) => ids.map((id) => (id === 0 ? 0 : 1)));

let opened: OpenedPipeline;
let transformer: DiffusionModel;
let encoder: DiffusionModel;

beforeAll(async () => {
  opened = await openPipeline(demoModelFolder, { threads: 1 });
  quantizeParts(opened.parts.models, { spec: "qint4" });
  transformer = modelOf(opened.parts, "transformer");
  encoder = modelOf(opened.parts, "text_encoder");
  await transformer.freeze();
  await encoder.freeze();
});
afterAll(async () => {
  for (const model of opened.own) await model.dispose();
});

const noise = (...shape: number[]) => new TorchGenerator(1).randn(shape, "float32");

function transformerModel() {
  const config = modelConfig(PixArtConfigSchema, transformer.config, "transformer", "config.json");
  const caption = {
    encoderHiddenStates: noise(2, SIZE.captionTokens, config.caption_channels as number),
    attentionMask: [
      [1, 1, 1, 0, 0],
      [1, 1, 1, 1, 1],
    ],
  };
  const inputs = { ...pixArtConstantInputs(config, SIZE, caption), ...pixArtStepInputs(noise(2, config.in_channels, 8, 8), [400]) };
  return { model: pixArtTransformer(transformer.weights(), config, "float32", SIZE), inputs };
}

function encoderModel() {
  const config = modelConfig(T5ConfigSchema, encoder.config, "text_encoder", "config.json");
  return { model: t5Encoder(encoder.weights(), config, "float32", { batch: 2, tokens: 4 }), inputs: t5Inputs(config, TOKENS, MASKS) };
}

/** Runs both models block by block, as large ones are run. */
const streamedClass: PipelineClass = {
  ...({} as PipelineClass),
  async *encode({ runtime }) {
    const { model, inputs } = encoderModel();
    const executor = new Executor(runtime, model, STREAMED);
    yield* callModel({ executor, model: encoder, phase: "encode", outputs: ["hidden"], signal: undefined }, inputs);
  },
  denoiser({ runtime }) {
    const { model, inputs } = transformerModel();
    const executor = new Executor(runtime, model, STREAMED);
    return {
      async *predict() {
        const call = { executor, model: transformer, phase: "denoise", outputs: ["sample"], signal: undefined } as const;
        return (yield* callModel(call, inputs)).sample.data;
      },
      dispose: () => executor.dispose(),
    };
  },
};

/** `hidden` after every segment, and the other outputs, with these layers quantized. */
async function whole(
  make: () => { model: ReturnType<typeof pixArtTransformer>; inputs: Record<string, Tensor> },
  model: DiffusionModel,
  layers: string[],
) {
  model.useQuantized(layers);
  const { model: graph, inputs } = make();
  const executor = new Executor(opened.parts.runtime, withIntermediates(graph, "hidden"));
  const outputs = await finish(executor.run(inputs));
  await executor.dispose();
  return outputs;
}

function relative(got: Float32Array, want: Float32Array, before?: Float32Array): number {
  let [difference, base] = [0, 0];
  for (const [i, value] of want.entries()) {
    difference += ((got[i] as number) - value) ** 2;
    base += (value - (before?.[i] ?? 0)) ** 2;
  }
  return Math.sqrt(difference / base);
}

async function expected(part: "transformer" | "text_encoder", layer: string, output: string, before?: string): Promise<number> {
  const [make, model] = part === "transformer" ? ([transformerModel, transformer] as const) : ([encoderModel, encoder] as const);
  const float = await whole(make, model, []);
  const quantized = await whole(make, model, [layer]);
  const data = (tensors: Record<string, Tensor>, name: string) => (tensors[name] as FloatTensor).data;
  return relative(data(quantized, output), data(float, output), before === undefined ? undefined : data(float, before));
}

test("a layer's error is that of its block's output, against what the block adds", async () => {
  const layers = {
    transformer: ["transformer_blocks.2.attn2.to_q", "transformer_blocks.4.ff.net.2", "proj_out", "pos_embed.proj"],
    text_encoder: ["encoder.block.1.layer.1.DenseReluDense.wo", "encoder.block.0.layer.0.SelfAttention.v"],
  };
  const found = new Map<string, number[]>();
  const recordings = [{ request: {}, size: {}, calls: [{}] }] as unknown as Recording[];
  const probed = { pipelineClass: streamedClass, parts: opened.parts, recordings, signal: undefined };
  const sets = new Map(Object.entries(layers).map(([part, names]) => [part, new Set(names)]));
  await blockErrors(probed, sets, (part, name, error) => found.set(`${part}:${name}`, [...(found.get(`${part}:${name}`) ?? []), error]));

  const want = {
    "transformer:transformer_blocks.2.attn2.to_q": await expected(
      "transformer",
      "transformer_blocks.2.attn2.to_q",
      "transformer_blocks.2/hidden",
      "transformer_blocks.1/hidden",
    ),
    "transformer:transformer_blocks.4.ff.net.2": await expected(
      "transformer",
      "transformer_blocks.4.ff.net.2",
      "transformer_blocks.4/hidden",
      "transformer_blocks.3/hidden",
    ),
    "transformer:proj_out": await expected("transformer", "proj_out", "sample"),
    "transformer:pos_embed.proj": await expected("transformer", "pos_embed.proj", "embed/hidden"),
    "text_encoder:encoder.block.1.layer.1.DenseReluDense.wo": await expected(
      "text_encoder",
      "encoder.block.1.layer.1.DenseReluDense.wo",
      "encoder.block.1/hidden",
      "encoder.block.0/hidden",
    ),
    "text_encoder:encoder.block.0.layer.0.SelfAttention.v": await expected(
      "text_encoder",
      "encoder.block.0.layer.0.SelfAttention.v",
      "encoder.block.0/hidden",
      "embed_tokens/hidden",
    ),
  };
  expect([...found.keys()].sort()).toEqual(Object.keys(want).sort());
  for (const [layer, error] of Object.entries(want)) {
    expect(error, layer).toBeGreaterThan(1e-4);
    expect(found.get(layer), layer).toEqual([expect.closeTo(error, 6)]);
  }
});

test("a frozen part calculates as it did in float when none of its layers is used", async () => {
  const { sample } = await whole(transformerModel, transformer, []);
  const other = await openPipeline(demoModelFolder, { threads: 1 });
  const frozen = transformer;
  transformer = modelOf(other.parts, "transformer");
  const float = await whole(transformerModel, transformer, []);
  expect(sample?.data).toEqual(float.sample?.data);
  transformer = frozen;
  expect(() => transformer.useQuantized(["proj_uot"])).toThrow('transformer has no quantized layer "proj_uot": freeze() makes them');
  expect(() => quantizeParts(opened.parts.models, { spec: "qint8" })).toThrow("is quantized already");
  for (const model of other.own) await model.dispose();
});
