/**
 * What is predicted of a graph's memory is what the engine's own profile says of its arena: node by node, byte by byte. A new version of the
 * engine that allocates otherwise fails here.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import ort from "onnxruntime-node";
import { afterAll, expect, it } from "vitest";
import type { IntegerProducts } from "../../src/checkpoint/weights.ts";
import type { Graph, Value } from "../../src/graph/graph.ts";
import { encodeOnnx } from "../../src/graph/onnx.ts";
import { add } from "../../src/graph/operators.ts";
import { buildGraphs, type ModelGraph } from "../../src/graph/segment.ts";
import { AutoencoderKLConfigSchema } from "../../src/models/autoencoder-kl/config.ts";
import { autoencoderKLDecoder } from "../../src/models/autoencoder-kl/model.ts";
import { PixArtConfigSchema } from "../../src/models/pixart/config.ts";
import { pixArtTransformer } from "../../src/models/pixart/model.ts";
import { modelConfig } from "../../src/models/registry.ts";
import { T5ConfigSchema } from "../../src/models/t5/config.ts";
import { t5Encoder } from "../../src/models/t5/model.ts";
import { feedForward } from "../../src/nn/feed-forward.ts";
import { demoModelFolder } from "../../src/pipelines/demo-node.ts";
import { DiffusionModel } from "../../src/pipelines/diffusion-model.ts";
import { quantize } from "../../src/pipelines/quantization.ts";
import { playArena } from "../../src/runtime/graph-memory.ts";
import { elementCount } from "../../src/tensor/tensor.ts";
import { openFixtureModel } from "../support/model.ts";

const folder = mkdtempSync(path.join(tmpdir(), "halftone-profile-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** The embedded transformer, whose widths are large enough for the products of a fast run. */
const embedded = await DiffusionModel.fromPretrained(demoModelFolder, { subfolder: "transformer" });
quantize(embedded, { weights: "qint8" });
await embedded.freeze();
afterAll(() => embedded.dispose());

function fastPixArt(kind: IntegerProducts): ModelGraph {
  const parsed = modelConfig(PixArtConfigSchema, embedded.config, "transformer", "");
  const size = { batch: 2, latentHeight: 32, latentWidth: 32, captionTokens: 77, timesteps: 1 };
  return pixArtTransformer(embedded.weights(kind), parsed, "float32", size);
}

const MODELS: Record<string, () => Promise<ModelGraph>> = {
  "pixart-sigma": async () => {
    const { config, weights } = await openFixtureModel("models/pixart-sigma", "diffusion_pytorch_model");
    const parsed = modelConfig(PixArtConfigSchema, config, "transformer", "");
    return pixArtTransformer(weights, parsed, "float32", { batch: 2, latentHeight: 32, latentWidth: 32, captionTokens: 77, timesteps: 1 });
  },
  t5: async () => {
    const { config, weights } = await openFixtureModel("models/t5", "model");
    return t5Encoder(weights, modelConfig(T5ConfigSchema, config, "text_encoder", ""), "float32", { batch: 2, tokens: 120 });
  },
  "t5, texts in one sequence": async () => {
    const { config, weights } = await openFixtureModel("models/t5", "model");
    const size = { batch: 1, tokens: 121, isPacked: true };
    return t5Encoder(weights, modelConfig(T5ConfigSchema, config, "text_encoder", ""), "float32", size);
  },
  "pixart-sigma, fast": async () => fastPixArt("signed"),
  "pixart-sigma, fast, without signs": async () => fastPixArt("unsigned"),
  "a feed-forward in pieces": async () => {
    const { num_attention_heads, attention_head_dim } = modelConfig(PixArtConfigSchema, embedded.config, "transformer", "");
    const width = num_attention_heads * attention_head_dim;
    const weights = embedded.weights().at("transformer_blocks", 0, "ff");
    return {
      dtype: "float32",
      inputs: { x: { shape: [2, 10_000, width], dtype: "float32" } },
      segments: [{ name: "ff", build: (g, { x }) => ({ x: add(g, x as Value, feedForward(g, weights, x as Value)) }) }],
      outputs: ["x"],
    };
  },
  "autoencoder-kl": async () => {
    const { config, weights } = await openFixtureModel("models/vae", "diffusion_pytorch_model");
    const parsed = modelConfig(AutoencoderKLConfigSchema, config, "vae", "");
    return autoencoderKLDecoder(weights, parsed, "float32", { batch: 1, height: 16, width: 12 });
  },
};

it.each(Object.keys(MODELS))("%s", async (name) => {
  const model = await (MODELS[name] as () => Promise<ModelGraph>)();
  for (const perGraph of [1, 3, model.segments.length]) {
    for (const { graph } of buildGraphs(model, perGraph)) {
      const predicted = Array.from(playArena(graph), ({ node, chunkBytes }) => ({ node: node.outputs[0]?.name, chunkBytes }));
      const found = await profile(graph);
      // Constants, which the model holds and not a file, are counted beside the arena from the beginning.
      const constantBytes = (found[0]?.chunkBytes ?? 0) - (predicted[0]?.chunkBytes ?? 0);
      expect(constantBytes).toBeLessThan(MOST_CONSTANT_BYTES);
      expect(predicted).toEqual(found.map(({ node, chunkBytes }) => ({ node, chunkBytes: chunkBytes - constantBytes })));
    }
  }
});

/** The weights of a fixture among them, since they are handed over in memory here. */
const MOST_CONSTANT_BYTES = 8e6;

/** Bytes of the chunks in use when each node has run, scratch buffers not counted. */
async function profile(graph: Graph) {
  const places = new Map(
    await Promise.all(
      Array.from(graph.weights, async ([name, stored]) => [name, await stored.source.read(stored.offset, stored.sizeBytes)] as const),
    ),
  );
  const session = await ort.InferenceSession.create(
    encodeOnnx(graph, ({ name }) => ({ bytes: places.get(name) as Uint8Array })),
    {
      graphOptimizationLevel: "disabled",
      enableMemPattern: false,
      enableProfiling: true,
      profileFilePrefix: path.join(folder, "profile"),
      intraOpNumThreads: 1,
      extra: { session: { disable_prepacking: "1" } },
    },
  );
  const inputs = graph.inputs.map(({ name, dtype, shape }) => {
    const count = elementCount(shape);
    const data = dtype === "int64" ? new BigInt64Array(count) : dtype === "int32" ? new Int32Array(count) : new Float32Array(count);
    return [name, new ort.Tensor(dtype as "float32", data as Float32Array, shape)] as const;
  });
  await session.run(Object.fromEntries(inputs));
  session.endProfiling();
  await session.release();
  const [file = ""] = readdirSync(folder);
  const events = JSON.parse(readFileSync(path.join(folder, file), "utf8")) as { name: string; args: Record<string, string> }[];
  rmSync(path.join(folder, file));
  return events
    .filter(({ name }) => name.endsWith("_kernel_time"))
    .map(({ name, args }) => ({ node: name.replace("_kernel_time", ""), chunkBytes: Number(args.mem_bytes_in_use) }));
}
