/**
 * Single layers against the real classes (reference/layers.py), so that a wrong number in a model can be pinned to a layer.
 *
 * Layers that a module keeps to itself are reached through the smallest public function, with everything around them made to do nothing:
 * a residual branch whose last weights are 0, a norm whose scale is modulated to 0. Nothing is added to the layer's own numbers that way.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it, onTestFinished } from "vitest";
import { parseConfig } from "../../src/checkpoint/config.ts";
import { openFolder } from "../../src/checkpoint/file-source-node.ts";
import { memorySource } from "../../src/checkpoint/memory-source.ts";
import type { StoredTensor } from "../../src/checkpoint/stored-tensor.ts";
import { openWeights } from "../../src/checkpoint/weight-store.ts";
import { Weights } from "../../src/checkpoint/weights.ts";
import type { Graph, Value } from "../../src/graph/graph.ts";
import { cast, silu } from "../../src/graph/operators.ts";
import { downsample, midBlock, resnetBlock, upsample } from "../../src/models/autoencoder-kl/blocks.ts";
import { AutoencoderKLConfigSchema } from "../../src/models/autoencoder-kl/config.ts";
import { pixArtBlock } from "../../src/models/pixart/block.ts";
import { PixArtConfigSchema } from "../../src/models/pixart/config.ts";
import { pixArtConstantInputs, pixArtStepInputs, pixArtTransformer } from "../../src/models/pixart/model.ts";
import { T5ConfigSchema } from "../../src/models/t5/config.ts";
import { t5Encoder, t5Inputs } from "../../src/models/t5/model.ts";
import { attention } from "../../src/nn/attention.ts";
import { groupNorm, layerNorm, rmsNorm } from "../../src/nn/norm.ts";
import { elementCount, floatTensor, intTensor, type Tensor } from "../../src/tensor/tensor.ts";
import { expectClose } from "../support/compare.ts";
import { type FixtureCase, type FixtureTensor, fixturePath, readFixture } from "../support/fixture.ts";
import { runModel } from "../support/model.ts";
import { readFixtureJson } from "../support/tensor-file.ts";
import { TOLERANCES } from "../support/tolerances.ts";

type Tensors = ReadonlyMap<string, StoredTensor>;
type Numbers = Record<string, number>;
type Outputs = Record<string, Float32Array | undefined>;
/** Runs a layer on a case; `tensors` are the layer's own, `options` its arguments in Python. */
type RunLayer = (found: FixtureCase, tensors: Tensors, options: Numbers) => Promise<Outputs>;

/** Every layer, by its fixture's folder. */
const LAYERS: Readonly<Record<string, RunLayer>> = {
  "attention-self": (found, tensors, options) =>
    single(found.inputs.hidden_states, tensors, (g, weights, x) => attention(g, weights, x, attentionShape(options))),
  "attention-cross": (found, tensors, options) =>
    apply({ ...caption(found, "attention_mask"), x: floats(found.inputs.hidden_states) }, tensors, (g, weights, state) =>
      attention(g, weights, state("x"), {
        ...attentionShape(options),
        context: state("caption"),
        ...(found.inputs.attention_mask === undefined ? {} : { keyMask: cast(g, state("mask"), "int32") }),
      }),
    ),
  "basic-transformer-block": (found, tensors, options) => {
    const inputs = {
      ...caption(found, "encoder_attention_mask"),
      x: floats(found.inputs.hidden_states),
      time: floats(found.inputs.timestep),
    };
    return apply(inputs, tensors, (g, weights, state) =>
      pixArtBlock(g, weights, pixArtConfig(options), state("x"), {
        caption: state("caption"),
        captionMask: cast(g, state("mask"), "int32"),
        modulation: state("time"),
      }),
    );
  },
  "feed-forward": feedForward,
  "norm-out": (found, tensors, { eps }) => single(found.inputs.input, tensors, (g, _, x) => layerNorm(g, undefined, x, eps as number)),
  "ada-layer-norm-single": async (found, tensors) => {
    const { embedded_timestep, modulation } = await embedPixArt(found, under("adaln_single", tensors), {});
    return { embedded_timestep, modulation };
  },
  "timestep-embedding": async (found, tensors) => {
    return { output: (await embedPixArt(found, under("adaln_single.emb", tensors), {})).embedded_timestep };
  },
  "timestep-size-embedding": async (found, tensors) => {
    const config = { use_additional_conditions: true };
    return { output: (await embedPixArt(found, under("adaln_single.emb", tensors), config)).embedded_timestep };
  },
  "text-projection": async (found, tensors, { in_features }) => {
    return { output: (await embedPixArt(found, under("caption_projection", tensors), { caption_channels: in_features })).caption };
  },
  "patch-embed": async (found, tensors, { height, interpolation_scale }) => {
    return { output: (await embedPixArt(found, under("pos_embed", tensors), { sample_size: height, interpolation_scale })).hidden };
  },
  "t5-layer-norm": (found, tensors, { eps }) =>
    single(found.inputs.hidden_states, tensors, (g, weights, x) => rmsNorm(g, weights, x, eps as number)),
  "t5-self-attention": (found, tensors, options) => runT5(found, under("encoder.block.0.layer.0", tensors), options),
  "t5-feed-forward-gated-gelu": (found, tensors, options) => runT5(found, under("encoder.block.0.layer.1", tensors), options),
  "t5-feed-forward-relu": (found, tensors, options) => runT5(found, under("encoder.block.0.layer.1", tensors), options),
  "t5-relative-bias": relativeBias,
  "group-norm-silu": (found, tensors, { groups }) =>
    single(found.inputs.hidden_states, tensors, (g, weights, x) =>
      silu(g, groupNorm(g, weights.at(0), x, { groups: groups as number, epsilon: 1e-6 })),
    ),
  "resnet-block": runResnet,
  "resnet-block-shortcut": runResnet,
  upsample: (found, tensors) => single(found.inputs.hidden_states, tensors, upsample),
  downsample: (found, tensors) => single(found.inputs.hidden_states, tensors, downsample),
  "vae-attention": (found, tensors, { query_dim, norm_num_groups }) => {
    const channels = query_dim as number;
    // Resnets whose second convolution is 0 add nothing to their input.
    const idle = ["resnets.0", "resnets.1"].flatMap((name) => resnetTensors(name, channels));
    const all = new Map([...under("attentions.0", tensors), ...idle.map((tensor) => [tensor.name, tensor] as const)]);
    return single(found.inputs.hidden_states, all, (g, weights, x) => midBlock(g, weights, vaeConfig(norm_num_groups as number), x));
  },
};

/** Folders that other tests read. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  "position-embedding": "test/parity/pixart.test.ts",
  timesteps: "test/parity/pixart.test.ts",
};

describe.each(Object.keys(LAYERS))("layer %s", async (name) => {
  const path = `models/layers/${name}`;
  const { options } = readFixtureJson<{ options: Numbers }>(`${path}/io.json`);
  // Cases of t5-relative-bias without a bias are for the buckets alone: test/parity/t5.test.ts.
  const cases = readFixture(`${path}/io`).filter(({ outputs }) => outputs.bucket === undefined);
  it.each(cases)("$name", async (found) => {
    const outputs = await (LAYERS[name] as RunLayer)(found, await openTensors(path), options);
    expect(Object.keys(outputs).length).toBeGreaterThan(0);
    for (const [output, got] of Object.entries(outputs)) {
      expectClose(got as Float32Array, found.outputs[output]?.values as Float32Array, TOLERANCES.layerRelativeRms, output);
    }
  });
});

it("reads every layer that the reference wrote", () => {
  expect(readdirSync(fixturePath("models/layers")).sort()).toEqual([...Object.keys(LAYERS), ...Object.keys(ELSEWHERE)].sort());
  for (const [name, place] of Object.entries(ELSEWHERE)) {
    expect(readFileSync(new URL(`../../${place}`, import.meta.url), "utf8")).toContain(`readFixture("models/layers/${name}/io")`);
  }
});

/** Reads the references to a fixture's weights; there are none where a layer has no weights. */
async function openTensors(path: string): Promise<Tensors> {
  if (!existsSync(fixturePath(`${path}/model.safetensors`))) return new Map();
  const store = await openWeights(await openFolder(fixturePath(path)), "", { baseNames: ["model"] });
  onTestFinished(() => store.close());
  return store.tensors;
}

/** The same tensors at a place of a model's tree of names. */
function under(place: string, tensors: Tensors): Tensors {
  return new Map(Array.from(tensors, ([name, tensor]) => [`${place}.${name}`, { ...tensor, name: `${place}.${name}` }]));
}

/** A tensor in memory; zeros if no values are given. */
function inMemory(name: string, shape: readonly number[], values: Float32Array = new Float32Array(elementCount(shape))): StoredTensor {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return { name, dtype: "float32", shape, source: memorySource(name, bytes), offset: 0, sizeBytes: bytes.length };
}

function weightsOf(...tensors: readonly (Tensors | readonly StoredTensor[])[]): Weights {
  const all = tensors.flatMap((group) => [...group.values()]).map((tensor) => [tensor.name, tensor] as const);
  return Weights.of({ component: "layer", name: "layer", tensors: new Map(all) });
}

/** Runs a layer of several inputs; outputs `output`. */
function apply(
  inputs: Record<string, Tensor>,
  tensors: Tensors,
  build: (g: Graph, weights: Weights, input: (name: string) => Value) => Value,
): Promise<Outputs> {
  const weights = weightsOf(tensors);
  return runModel(
    {
      dtype: "float32",
      inputs: Object.fromEntries(Object.entries(inputs).map(([name, { shape, dtype }]) => [name, { shape, dtype }])),
      segments: [{ name: "layer", build: (g, state) => ({ output: build(g, weights, (name) => state[name] as Value) }) }],
      outputs: ["output"],
    },
    inputs,
  );
}

/** Runs a layer of one input. */
function single(x: FixtureTensor | undefined, tensors: Tensors, build: (g: Graph, weights: Weights, x: Value) => Value): Promise<Outputs> {
  return apply({ x: floats(x) }, tensors, (g, weights, state) => build(g, weights, state("x")));
}

function floats(tensor: FixtureTensor | undefined): Tensor {
  if (tensor === undefined) throw new Error("the fixture has changed");
  return floatTensor(tensor.shape, tensor.values);
}

/** The caption of a cross-attention and its mask, which diffusers adds to the scores. */
function caption(found: FixtureCase, mask: string): Record<string, Tensor> {
  const states = floats(found.inputs.encoder_hidden_states);
  const bias = found.inputs[mask];
  const keep =
    bias === undefined
      ? {}
      : {
          mask: intTensor(
            states.shape.slice(0, 2),
            Array.from(bias.values, (value) => (value === 0 ? 1 : 0)),
          ),
        };
  return { caption: states, ...keep };
}

function attentionShape({ heads, dim_head }: Numbers) {
  return { heads: heads as number, headDim: dim_head as number, bias: true };
}

function pixArtConfig(options: Record<string, unknown>) {
  return parseConfig(PixArtConfigSchema, { num_attention_heads: 2, attention_head_dim: 24, ...options }, "config", "fixture");
}

/**
 * The feed-forward is reached through a block whose attentions are 0 and whose norm is modulated away: what it reads is then the
 * modulation's shift, one row a picture.
 */
async function feedForward(found: FixtureCase, tensors: Tensors): Promise<Outputs> {
  const rows = found.inputs.hidden_states as FixtureTensor;
  const width = 48;
  const batch = rows.values.length / width;
  const modulation = new Float32Array(batch * 6 * width);
  for (let row = 0; row < batch; row++) {
    const [shift, scale, gate] = [3, 4, 5].map((vector) => (row * 6 + vector) * width) as [number, number, number];
    modulation.set(rows.values.subarray(row * width, (row + 1) * width), shift);
    modulation.fill(-1, scale, scale + width);
    modulation.fill(1, gate, gate + width);
  }
  const linears = ["attn1", "attn2"].flatMap((name) => ["to_q", "to_k", "to_v", "to_out.0"].map((part) => `${name}.${part}`));
  const idle = [inMemory("scale_shift_table", [6, width]), ...linears.flatMap((name) => linearTensors(name, width, width))];
  const all = new Map([...under("ff", tensors), ...idle.map((tensor) => [tensor.name, tensor] as const)]);
  const inputs = {
    x: floatTensor([batch, 1, width]),
    caption: floatTensor([batch, 1, width]),
    mask: intTensor([batch, 1], Array<number>(batch).fill(1)),
    time: floatTensor([batch, 6 * width], modulation),
  };
  return apply(inputs, all, (g, weights, state) =>
    pixArtBlock(g, weights, pixArtConfig({}), state("x"), {
      caption: state("caption"),
      captionMask: cast(g, state("mask"), "int32"),
      modulation: state("time"),
    }),
  );
}

/** Runs the first segment of PixArt, which embeds everything; what the layer does not hold is 0. */
async function embedPixArt(found: FixtureCase, tensors: Tensors, changes: Record<string, unknown>): Promise<Outputs> {
  const { latent, timestep, resolution, aspect_ratio, caption: text } = found.inputs;
  const config = pixArtConfig({
    sample_size: 16,
    interpolation_scale: 1,
    use_additional_conditions: false,
    caption_channels: 8,
    ...changes,
  });
  const [width, channels] = [48, config.caption_channels as number];
  const idle = [
    inMemory("pos_embed.proj.weight", [width, 4, 2, 2]),
    inMemory("pos_embed.proj.bias", [width]),
    ...linearTensors("adaln_single.emb.timestep_embedder.linear_1", width, 256),
    ...linearTensors("adaln_single.emb.timestep_embedder.linear_2", width, width),
    ...linearTensors("adaln_single.linear", 6 * width, width),
    ...linearTensors("caption_projection.linear_1", width, channels),
    ...linearTensors("caption_projection.linear_2", width, width),
  ];
  const latents = latent === undefined ? floatTensor([2, 4, 2, 2]) : floatTensor(latent.shape, latent.values);
  const [batch = 0, , latentHeight = 0, latentWidth = 0] = latents.shape;
  const timesteps = timestep?.integers ?? [0];
  const captions = text === undefined ? floatTensor([batch, 1, channels]) : floatTensor(text.shape, text.values);
  const captionTokens = captions.shape[1] as number;
  const size = { batch, latentHeight, latentWidth, captionTokens, timesteps: timesteps.length };
  const constant = pixArtConstantInputs(config, size, {
    encoderHiddenStates: captions,
    attentionMask: Array.from({ length: batch }, () => Array<number>(captionTokens).fill(1)),
    ...(resolution === undefined || aspect_ratio === undefined
      ? {}
      : { conditions: { resolution: Array.from(resolution.values), aspectRatio: Array.from(aspect_ratio.values) } }),
  });
  const model = pixArtTransformer(weightsOf(idle, tensors), config, "float32", size);
  const outputs = ["hidden", "caption", "embedded_timestep", "modulation"];
  return runModel({ ...model, segments: model.segments.slice(0, 1), outputs }, { ...constant, ...pixArtStepInputs(latents, timesteps) });
}

/** Runs T5's first block on the fixture's hidden states, given as the embedding table; the layer that is not tested adds 0. */
async function runT5(found: FixtureCase, tensors: Tensors, options: Record<string, unknown>): Promise<Outputs> {
  const { shape, values } = found.inputs.hidden_states as FixtureTensor;
  const [batch = 0, tokens = 0, width = 0] = shape;
  const config = parseConfig(T5ConfigSchema, { ...options, vocab_size: batch * tokens }, "config", "fixture");
  const inner = config.num_heads * config.d_kv;
  const attentionPlace = "encoder.block.0.layer.0";
  const feedPlace = "encoder.block.0.layer.1";
  const idle = [
    ...["q", "k", "v"].map((name) => inMemory(`${attentionPlace}.SelfAttention.${name}.weight`, [inner, width])),
    inMemory(`${attentionPlace}.SelfAttention.o.weight`, [width, inner]),
    inMemory(`${attentionPlace}.SelfAttention.relative_attention_bias.weight`, [32, config.num_heads]),
    ...["wi", "wi_0", "wi_1"].map((name) => inMemory(`${feedPlace}.DenseReluDense.${name}.weight`, [config.d_ff, width])),
    inMemory(`${feedPlace}.DenseReluDense.wo.weight`, [width, config.d_ff]),
    ...[attentionPlace, feedPlace].map((place) => inMemory(`${place}.layer_norm.weight`, [width])),
    inMemory("shared.weight", [batch * tokens, width], values),
  ];
  const model = t5Encoder(weightsOf(idle, tensors), config, "float32", { batch, tokens });
  const row = (make: (index: number) => number) =>
    Array.from({ length: batch }, (_, i) => Array.from({ length: tokens }, (_, j) => make(i * tokens + j)));
  const mask = found.inputs.attention_mask?.values;
  const inputs = t5Inputs(
    config,
    row((index) => index),
    row((index) => (mask === undefined || mask[index] === 0 ? 1 : 0)),
  );
  const { hidden } = await runModel({ ...model, segments: model.segments.slice(0, 2) }, inputs);
  return { output: hidden };
}

/** The bias that every block adds, before the mask's. */
async function relativeBias(found: FixtureCase, tensors: Tensors, { num_heads }: Numbers): Promise<Outputs> {
  const { numBuckets, maxDistance, tokens } = found.meta as unknown as { numBuckets: number; maxDistance: number; tokens: number };
  const buckets = { relative_attention_num_buckets: numBuckets, relative_attention_max_distance: maxDistance };
  const options = { vocab_size: 1, d_model: 4, d_kv: 4, d_ff: 4, num_layers: 1, num_heads, ...buckets };
  const config = parseConfig(T5ConfigSchema, options, "config", "fixture");
  const weights = weightsOf([inMemory("shared.weight", [1, 4])], under("encoder.block.0.layer.0.SelfAttention", tensors));
  const model = t5Encoder(weights, config, "float32", { batch: 1, tokens });
  const inputs = t5Inputs(config, [Array<number>(tokens).fill(0)], [Array<number>(tokens).fill(1)]);
  const { attention_bias } = await runModel({ ...model, segments: model.segments.slice(0, 1), outputs: ["attention_bias"] }, inputs);
  return { bias: attention_bias };
}

function vaeConfig(groups: number) {
  const blocks = { down_block_types: ["DownEncoderBlock2D"], up_block_types: ["UpDecoderBlock2D"], block_out_channels: [16] };
  return parseConfig(AutoencoderKLConfigSchema, { ...blocks, norm_num_groups: groups }, "config", "fixture");
}

function runResnet(found: FixtureCase, tensors: Tensors, { out_channels, groups }: Numbers): Promise<Outputs> {
  return single(found.inputs.input_tensor, tensors, (g, weights, x) =>
    resnetBlock(g, weights, vaeConfig(groups as number), x, out_channels as number),
  );
}

function resnetTensors(name: string, channels: number): StoredTensor[] {
  const convs = ["conv1", "conv2"].map((part) => inMemory(`${name}.${part}.weight`, [channels, channels, 3, 3]));
  const vectors = ["conv1.bias", "conv2.bias", "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"];
  return [...convs, ...vectors.map((part) => inMemory(`${name}.${part}`, [channels]))];
}

function linearTensors(name: string, out: number, into: number): StoredTensor[] {
  return [inMemory(`${name}.weight`, [out, into]), inMemory(`${name}.bias`, [out])];
}
