import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { FakeHub } from "../../test/support/fake-hub.ts";
import { fixturePath } from "../../test/support/fixture.ts";
import { demoModelFolder } from "./demo-node.ts";
import { inspectModel } from "./inspect.ts";

describe("inspectModel", () => {
  test("reports the parts of a pipeline from headers", async () => {
    const report = await inspectModel(demoModelFolder);
    expect(report).toMatchObject({ model: "demo", revision: undefined, className: "PixArtSigmaPipeline" });
    const parts = Object.fromEntries(report.parts.map((part) => [part.name, part]));
    expect(Object.keys(parts).sort()).toEqual(["scheduler", "text_encoder", "tokenizer", "transformer", "vae"]);
    expect(parts.transformer).toMatchObject({ library: "diffusers", className: "PixArtTransformer2DModel", isSupported: true });
    // float16 throughout: two bytes a parameter.
    expect(parts.transformer?.storedDTypes).toEqual({ float16: parts.transformer?.parameters });
    expect(parts.transformer?.sizeBytes).toBe(2 * (parts.transformer?.parameters ?? 0));
    expect(parts.tokenizer).toEqual({
      name: "tokenizer",
      library: "transformers",
      className: "T5Tokenizer",
      isSupported: undefined,
      parameters: 0,
      sizeBytes: 0,
      storedDTypes: {},
    });
    expect(report.sizeBytes).toBe(report.parts.reduce((sum, part) => sum + part.sizeBytes, 0));
  });

  test("reports the folder of one part, shards and all", async () => {
    const whole = await inspectModel(fixturePath("models/pixart-sigma"));
    const sharded = await inspectModel(fixturePath("models/pixart-sharded"));
    expect(whole).toMatchObject({ model: "pixart-sigma", className: "PixArtTransformer2DModel", parts: [{ name: "", isSupported: true }] });
    expect(sharded.parts[0]?.parameters).toBeGreaterThan(0);
    expect(await inspectModel(fixturePath("models/t5"))).toMatchObject({
      className: "T5EncoderModel",
      parts: [{ library: "transformers" }],
    });
  });

  test("knows the class by which checkpoints from before diffusers 0.30 call the transformer", async () => {
    const folder = mkdtempSync(join(tmpdir(), "halftone-inspect-"));
    cpSync(fixturePath("models/pixart-sigma"), folder, { recursive: true });
    const write = (change: object) => {
      const config = JSON.parse(readFileSync(fixturePath("models/pixart-sigma/config.json"), "utf8")) as object;
      writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, _class_name: "Transformer2DModel", ...change }));
    };
    write({});
    expect((await inspectModel(folder)).parts[0]).toMatchObject({ className: "Transformer2DModel", isSupported: true });
    write({ norm_type: "layer_norm" });
    expect((await inspectModel(folder)).parts[0]).toMatchObject({ isSupported: false });
    rmSync(folder, { recursive: true });
  });

  test("looks into a model on the Hub by range, and keeps nothing", async () => {
    const weights = readFileSync(fixturePath("models/pixart-sigma/diffusion_pytorch_model.safetensors"));
    const files = {
      "config.json": readFileSync(fixturePath("models/pixart-sigma/config.json")),
      "diffusion_pytorch_model.safetensors": weights,
    };
    const commit = "0123456789".repeat(4);
    const hub = await new FakeHub({ "maker/model": { commits: { [commit]: files }, refs: { main: commit } } }).listen();
    const cacheDir = mkdtempSync(join(tmpdir(), "halftone-inspect-"));
    vi.stubEnv("HF_ENDPOINT", hub.endpoint);
    vi.stubEnv("HF_HUB_OFFLINE", "0");
    try {
      const report = await inspectModel("maker/model", { cacheDir });
      const local = await inspectModel(fixturePath("models/pixart-sigma"));
      expect(report).toEqual({ ...local, model: "maker/model", revision: commit });
      expect(hub.rangeBytes).toBeLessThan(weights.length / 10);
      expect(readdirSync(cacheDir)).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
      await hub.close();
      rmSync(cacheDir, { recursive: true });
    }
  });

  test.each([
    ["models/nothing-here", /^model folder ".*nothing-here" does not exist$/],
    ["pictures/rgba.png", /is a file, expected a folder in diffusers' layout$/],
    ["pictures", /model_index\.json/],
  ])("%s is refused", async (path, message) => {
    await expect(inspectModel(fixturePath(path))).rejects.toThrow(message);
  });
});
