import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { FakeHub } from "../../test/support/fake-hub.ts";
import { UsageError } from "../errors.ts";
import { demoModelFolder } from "./demo-node.ts";
import { planModel } from "./plan-model.ts";

const ASKED = { quantization: { spec: "qint8" }, height: 256, width: 256, maxMemory: "2GB" } as const;

describe("planModel", () => {
  test("plans for each phase, and says what would fit where the plan does not", async () => {
    const plan = await planModel(demoModelFolder, ASKED);
    expect(plan).toMatchObject({ model: "demo", className: "PixArtSigmaPipeline", height: 256, width: 256, images: 1, maxBytes: 2e9 });
    expect([plan.fits, plan.hint]).toEqual([true, undefined]);
    expect(plan.phases.map(({ phase, parts }) => [phase, parts.map(({ part }) => part)])).toEqual([
      ["encode", ["text_encoder"]],
      ["denoise", ["transformer"]],
      ["decode", ["vae"]],
    ]);
    expect(plan.phases[1]?.parts[0]?.weightBytes.qint8).toBeGreaterThan(1e6);
    const tight = await planModel(demoModelFolder, { ...ASKED, maxMemory: "210MB" });
    expect(tight.fits).toBe(false);
    expect(tight.hint).toMatch(/^allow 0\.\d+ GB/);
  });

  test("plans for a model on the Hub from headers, and keeps nothing", async () => {
    const names = readdirSync(demoModelFolder, { recursive: true, encoding: "utf8" });
    const paths = names.filter((name) => statSync(join(demoModelFolder, name)).isFile());
    const files = Object.fromEntries(paths.map((name) => [name.replaceAll("\\", "/"), readFileSync(join(demoModelFolder, name))]));
    const commit = "0123456789".repeat(4);
    const hub = await new FakeHub({ "maker/model": { commits: { [commit]: files }, refs: { main: commit } } }).listen();
    const cacheDir = mkdtempSync(join(tmpdir(), "halftone-plan-"));
    vi.stubEnv("HF_ENDPOINT", hub.endpoint);
    vi.stubEnv("HF_HUB_OFFLINE", "0");
    try {
      const plan = await planModel("maker/model", { ...ASKED, cacheDir });
      const local = await planModel(demoModelFolder, ASKED);
      const partsOf = ({ phases }: typeof plan) => phases.map(({ phase, parts, decodeWay }) => ({ phase, parts, decodeWay }));
      expect(partsOf(plan)).toEqual(partsOf(local));
      const weightBytes = paths
        .filter((name) => name.endsWith(".safetensors"))
        .reduce((sum, name) => sum + statSync(join(demoModelFolder, name)).size, 0);
      expect(hub.rangeBytes).toBeLessThan(weightBytes / 10);
      expect(readdirSync(cacheDir)).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
      await hub.close();
      rmSync(cacheDir, { recursive: true });
    }
  });

  test("refuses what generating would refuse", async () => {
    await expect(planModel(demoModelFolder, { ...ASKED, height: 100 })).rejects.toThrow(UsageError);
    await expect(planModel(demoModelFolder, { ...ASKED, quantization: { spec: "qint9" } })).rejects.toThrow(/qint9/);
    await expect(planModel(demoModelFolder, { ...ASKED, maxMemory: "much" })).rejects.toThrow(/much/);
  });
});
