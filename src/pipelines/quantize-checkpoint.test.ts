import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { FakeHub } from "../../test/support/fake-hub.ts";
import { fixturePath } from "../../test/support/fixture.ts";
import { openFolder } from "../checkpoint/file-source-node.ts";
import { openWeights } from "../checkpoint/weight-store.ts";
import { DiffusionModel } from "./diffusion-model.ts";
import { quantizeCheckpoint } from "./quantize-checkpoint.ts";
import { savePart } from "./save-part.ts";

const TINY = fixturePath("pipelines/tiny");
const T5 = fixturePath("models/t5");
let folder: string;
let output: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "halftone-checkpoint-"));
  output = join(folder, "small");
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

async function dtypesOf(path: string): Promise<Record<string, string>> {
  const store = await openWeights(await openFolder(path), "");
  await store.close();
  return Object.fromEntries(Array.from(store.tensors.values(), ({ name, dtype }) => [name, dtype]));
}

describe("quantizeCheckpoint", () => {
  test("reads a model on the Hub by range, and stores nothing of it but what it makes", async () => {
    const files = Object.fromEntries(
      readdirSync(TINY, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
        .map((path) => [path.slice(TINY.length + 1), readFileSync(path)]),
    );
    const commit = "0123456789".repeat(4);
    const hub = await new FakeHub({ "maker/model": { commits: { [commit]: files }, refs: { main: commit } } }).listen();
    const cacheDir = mkdtempSync(join(folder, "cache-"));
    vi.stubEnv("HF_ENDPOINT", hub.endpoint);
    vi.stubEnv("HF_HUB_OFFLINE", "0");
    try {
      await quantizeCheckpoint("maker/model", { qtype: "transformer=qint4", output, cacheDir });
      await quantizeCheckpoint(TINY, { qtype: "transformer=qint4", output: `${output}-2` });
    } finally {
      await hub.close();
    }
    expect(readdirSync(cacheDir)).toEqual([]);
    const names = readdirSync(output, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    expect(names.length).toBe(Object.keys(files).length + 1);
    for (const { parentPath, name } of names) {
      const path = join(parentPath, name);
      expect(readFileSync(path).equals(readFileSync(path.replace(output, `${output}-2`)))).toBe(true);
    }
  });

  test("takes a variant's weights; what is written has none", async () => {
    const model = join(folder, "model");
    cpSync(TINY, model, { recursive: true });
    for (const part of ["transformer", "vae"]) {
      const plain = join(model, part, "diffusion_pytorch_model.safetensors");
      renameSync(plain, plain.replace(".safetensors", ".fp16.safetensors"));
    }
    writeFileSync(join(model, "vae", "diffusion_pytorch_model.bin"), "pickle");
    await quantizeCheckpoint(model, { qtype: "transformer=qint8", variant: "fp16", output });
    expect(readdirSync(join(output, "vae")).sort()).toEqual(["config.json", "diffusion_pytorch_model.safetensors"]);
    expect(readdirSync(join(output, "transformer")).sort()).toEqual([
      "config.json",
      "diffusion_pytorch_model.safetensors",
      "quanto_qmap.json",
    ]);
    expect(readdirSync(join(output, "text_encoder")).sort()).toEqual(["config.json", "model.safetensors"]);
  });

  test("rounds what stays float to the dtype; T5's wo stays float32 under float16, quantized or not", async () => {
    await quantizeCheckpoint(T5, { qtype: "qint8", dtype: "float16", exclude: ["*.block.0.*.wo"], output });
    const dtypes = await dtypesOf(output);
    expect(dtypes["shared.weight"]).toBe("float16");
    expect(dtypes["encoder.final_layer_norm.weight"]).toBe("float16");
    expect(dtypes["encoder.block.0.layer.0.SelfAttention.q.weight._scale"]).toBe("float16");
    expect(dtypes["encoder.block.0.layer.1.DenseReluDense.wo.weight"]).toBe("float32");
    expect(dtypes["encoder.block.1.layer.1.DenseReluDense.wo.weight._scale"]).toBe("float32");
    expect(dtypes["encoder.block.1.layer.1.DenseReluDense.wo.input_scale"]).toBe("float32");
    expect(JSON.parse(readFileSync(join(output, "config.json"), "utf8"))).toMatchObject({ dtype: "float16" });
  });

  test("each part, and each module, has its own qtype; an optimizer counts where it fits", async () => {
    const qtype = "text_encoder=qfloat8,transformer=qint4,transformer:*.ff.*=qint8";
    const { parts } = await quantizeCheckpoint(TINY, { qtype, optimizer: "hqq", output });
    expect(parts.map(({ name, qtypes, floatLayers }) => ({ name, qtypes, floatLayers }))).toEqual([
      { name: "text_encoder", qtypes: { qfloat8_e4m3fn: 14 }, floatLayers: 0 },
      { name: "transformer", qtypes: { qint4: 23, qint8: 4 }, floatLayers: 0 },
    ]);
    for (const { storedBytes, savedBytes } of parts) expect(savedBytes).toBeLessThan(storedBytes);
  });

  test("cancelled on the way, it leaves nothing", async () => {
    const controller = new AbortController();
    const events: number[] = [];
    const run = quantizeCheckpoint(TINY, {
      qtype: "qint8",
      output,
      signal: controller.signal,
      onEvent(event) {
        if (event.type !== "quantize") return;
        events.push(event.doneBytes / event.totalBytes);
        controller.abort();
      },
    });
    await expect(run).rejects.toMatchObject({ name: "CancelledError" });
    expect(events[0]).toBeLessThan(1);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a weight that cannot be quantized is named, and nothing is left", async () => {
    const model = join(folder, "model");
    cpSync(T5, model, { recursive: true });
    const path = join(model, "model.safetensors");
    const bytes = readFileSync(path);
    const store = await openWeights(await openFolder(model), "");
    await store.close();
    const weight = store.tensors.get("encoder.block.1.layer.0.SelfAttention.k.weight");
    bytes.fill(0xff, weight?.offset, (weight?.offset ?? 0) + 4);
    writeFileSync(path, bytes);
    await expect(quantizeCheckpoint(model, { qtype: "qint8", output })).rejects.toMatchObject({
      name: "CheckpointError",
      message: 'weight "encoder.block.1.layer.0.SelfAttention.k.weight" holds NaN at [0, 0], expected finite numbers to quantize',
    });
    expect(readdirSync(folder)).toEqual(["model"]);
  });
});

test("savePart writes a part that is quantized already as it is, and quantizes a marked one on the way", async () => {
  const transformer = join(TINY, "transformer");
  await quantizeCheckpoint(transformer, { qtype: "qint4", exclude: ["proj_out"], dtype: "bfloat16", output });
  const quantized = await DiffusionModel.fromPretrained(output, { dtype: "bfloat16" });
  const { part, className, configPath, dtype, tensors, modules, qtypes } = quantized;
  const configText = readFileSync(join(output, "config.json"), "utf8");
  const about = { part, className, configPath, configText, dtype, tensors, modules, marks: new Map(), qtypes };
  const again = await savePart(about, join(folder, "again"));
  await expect(savePart(about, output, { force: true, sources: [output] })).rejects.toThrow("is the model that is read");
  await quantized.dispose();
  expect(readdirSync(again).sort()).toEqual(["config.json", "diffusion_pytorch_model.safetensors", "quanto_qmap.json"]);
  for (const name of readdirSync(again)) expect(readFileSync(join(again, name)).equals(readFileSync(join(output, name)))).toBe(true);
});
