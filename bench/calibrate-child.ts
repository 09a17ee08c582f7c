/** One graph compiled and run in a process of its own: what bench/calibrate.ts measures. Prints a line of JSON after each stage. */
import { readFileSync } from "node:fs";
import type { Graph } from "../src/graph/graph.ts";
import { buildGraphs, type ModelGraph } from "../src/graph/segment.ts";
import { PixArtConfigSchema } from "../src/models/pixart/config.ts";
import { pixArtTransformer } from "../src/models/pixart/model.ts";
import { T5ConfigSchema } from "../src/models/t5/config.ts";
import { t5Encoder } from "../src/models/t5/model.ts";
import { AutoencoderKLConfigSchema } from "../src/models/autoencoder-kl/config.ts";
import { autoencoderKLDecoder } from "../src/models/autoencoder-kl/model.ts";
import { modelConfig } from "../src/models/registry.ts";
import { DiffusionModel } from "../src/pipelines/diffusion-model.ts";
import { quantize, freeze } from "../src/pipelines/quantization.ts";
import ort from "onnxruntime-node";
import { encodeOnnx } from "../src/graph/onnx.ts";
import path from "node:path";
import { floatTensor, elementCount } from "../src/tensor/tensor.ts";

const s = JSON.parse(process.argv[2] ?? "{}");
const say = (o: object) => console.log(JSON.stringify({ at: Date.now(), anon: anon(), ...o }));
function anon() { return Number(/^RssAnon:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) * 1024; }
const subfolder = s.kind === "pixart" ? "transformer" : s.kind === "t5" ? "text_encoder" : "vae";
const model = await DiffusionModel.fromPretrained(s.folder, { subfolder, dtype: "float32" });
if (s.qtype) { quantize(model, { weights: s.qtype }); await freeze(model); }
let mg: ModelGraph;
const side = (s.size ?? 512) / 8;
if (s.kind === "pixart") {
  const config = modelConfig(PixArtConfigSchema, model.config, model.part, model.configPath);
  mg = pixArtTransformer(model.weights(), config, "float32", { batch: s.batch ?? 2, latentHeight: side, latentWidth: side, captionTokens: 300, timesteps: 1 });
} else if (s.kind === "t5") {
  const config = modelConfig(T5ConfigSchema, model.config, model.part, model.configPath);
  mg = t5Encoder(model.weights(), config, "float32", { batch: s.batch ?? 2, tokens: 300 });
} else {
  const config = modelConfig(AutoencoderKLConfigSchema, model.config, model.part, model.configPath);
  mg = autoencoderKLDecoder(model.weights(), config, "float32", { batch: 1, height: side, width: side });
}
const per = s.per ?? 1;
const graphs = buildGraphs(mg, per);
const g: Graph = graphs[s.index ?? 1]!.graph;
const weights = [...g.weights.values()];
const folder = "/var/tmp/ts";
const onnx = encodeOnnx(g, (w) => w.source.file ? { location: path.relative(folder, path.join(w.source.file.folder, w.source.file.fileName)), offset: w.offset } : { bytes: new Uint8Array() });
const feeds: Record<string, ort.Tensor> = {};
for (const { name, dtype, shape } of g.inputs) {
  const n = elementCount(shape);
  if (dtype === "int64") feeds[name] = new ort.Tensor("int64", new BigInt64Array(n).fill(1n), shape as number[]);
  else if (dtype === "int32") feeds[name] = new ort.Tensor("int32", new Int32Array(n).fill(1), shape as number[]);
  else { const d = floatTensor(shape).data; for (let i = 0; i < n; i++) d[i] = Math.sin(i); feeds[name] = new ort.Tensor("float32", d, shape as number[]); }
}
const inputBytes = Object.values(feeds).reduce((t, f) => t + (f.data as Float32Array).byteLength, 0);
const fetches = Object.fromEntries([...g.outputs.values()].map((v) => [v.name, new ort.Tensor(v.dtype as any, v.dtype === "int32" ? new Int32Array(elementCount(v.shape)) : v.dtype === "int64" ? new BigInt64Array(elementCount(v.shape)) : new Float32Array(elementCount(v.shape)) as any, v.shape as number[])]));
if (s.prealloc) for (const f of Object.values(fetches)) (f.data as Float32Array).fill(0);
globalThis.gc?.();
const { predictGraphMemory } = await import("../src/runtime/graph-memory.ts"); const t0 = performance.now(); const pm = predictGraphMemory(g); const pms = performance.now() - t0;
say({ nodes: g.nodes.length, predicted: { ...pm, pms }, stage: "before", inputBytes, outputs: [...g.outputs.values()].map((v) => v.shape), names: graphs[s.index ?? 1]!.names });
const session = await ort.InferenceSession.create(onnx, { executionProviders: ["cpu"], graphOptimizationLevel: "disabled", enableCpuMemArena: s.arena ?? true, enableMemPattern: s.pattern ?? true, logSeverityLevel: 3, ...(s.threads ? { intraOpNumThreads: s.threads } : {}), extra: { session: { disable_prepacking: "1", model_external_initializers_file_folder_path: folder, ...(s.session ?? {}) } } } as any);
say({ stage: "compile" });
for (let i = 1; i <= (s.runs ?? 2); i++) {
  const t = performance.now(); const c0 = process.cpuUsage();
  let r: any = s.prealloc ? await session.run(feeds, fetches) : await session.run(feeds);
  const sec = (performance.now() - t) / 1000;
  const cu = process.cpuUsage(c0); say({ stage: `run${i}`, seconds: sec, user: cu.user / 1e6, sys: cu.system / 1e6 });
  r = undefined; await new Promise((f) => setTimeout(f, 10)); globalThis.gc?.(); await new Promise((f) => setTimeout(f, 20));
  say({ stage: `idle${i}` }); if (s.prealloc && i === 1) console.error("out0", (Object.values(fetches)[0]!.data as any)[5]);
}
await session.release();
await new Promise((f) => setTimeout(f, 20));
say({ stage: "released" });
await model.dispose();
