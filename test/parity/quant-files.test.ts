/**
 * Files of quantized models against Python's own: byte for byte what save_pretrained of the real Quanto and diffusers writes for the same
 * model, and the same qtypes read from theirs. That Python loads ours, with the same state dict and output, is in the fixture's verdicts.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openFolder } from "../../src/checkpoint/file-source-node.ts";
import { openWeights } from "../../src/checkpoint/weight-store.ts";
import { quantizeCheckpoint } from "../../src/pipelines/quantize-checkpoint.ts";
import { QUANTO_MAP, readQuantization } from "../../src/quant/quantization-files.ts";
import type { ComputeDType } from "../../src/tensor/dtype.ts";
import { fixturePath } from "../support/fixture.ts";
import { readFixtureJson } from "../support/tensor-file.ts";

interface Case {
  readonly model: string;
  readonly layout: "quanto" | "diffusers";
  readonly dtype: ComputeDType;
  readonly qtype: string;
  readonly exclude: readonly string[];
  readonly sha256: string;
  readonly bytes: number;
  readonly config: Readonly<Record<string, unknown>>;
  /** Names of the modules in Python's map. */
  readonly quantized?: readonly string[];
  readonly verdict: Readonly<Record<string, boolean | string>>;
}

const { cases: ofPixArt, pipeline } = readFixtureJson<{ cases: Case[]; pipeline: object }>("quant-files/files.json");
const cases = [...ofPixArt, ...readFixtureJson<{ cases: Case[] }>("quant-files/auraflow.json").cases];
const SOURCES: Readonly<Record<string, [folder: string, file: string]>> = {
  "pixart-sigma": ["models/pixart-sigma", "diffusion_pytorch_model.safetensors"],
  "pixart-tiny": ["pipelines/tiny/transformer", "diffusion_pytorch_model.safetensors"],
  "sd35-medium": ["models/sd35-medium", "diffusion_pytorch_model.safetensors"],
  t5: ["models/t5", "model.safetensors"],
  auraflow: ["models/auraflow", "diffusion_pytorch_model.safetensors"],
  umt5: ["models/umt5", "model.safetensors"],
  clip: ["models/clip", "model.safetensors"],
};
const work = mkdtempSync(join(tmpdir(), "halftone-quant-files-"));
afterAll(() => rmSync(work, { recursive: true }));

describe("what is written", () => {
  test.each(cases.map((found) => [nameOf(found), found] as const))("%s: Python's bytes", async (_, found) => {
    const [folder, file] = SOURCES[found.model] ?? ["", ""];
    const { qtype, dtype, exclude, layout } = found;
    const output = join(work, "out");
    await quantizeCheckpoint(fixturePath(folder), { qtype, dtype, exclude, layout, output, force: true });
    const bytes = readFileSync(join(output, file));
    expect(bytes.length).toBe(found.bytes);
    expect(createHash("sha256").update(bytes).digest("hex")).toBe(found.sha256);
    expect(JSON.parse(readFileSync(join(output, "config.json"), "utf8"))).toEqual(found.config);
    if (found.quantized === undefined) return;
    const map = JSON.parse(readFileSync(join(output, QUANTO_MAP), "utf8")) as Record<string, unknown>;
    expect(Object.keys(map).sort()).toEqual(found.quantized);
    for (const entry of Object.values(map)) expect(entry).toEqual({ weights: qtype, activations: "none" });
  });

  test.each(cases.map((found) => [nameOf(found), found] as const))("%s: Python loaded it", (_, { verdict }) => {
    const { same_output: output, ...others } = verdict;
    expect(others).toEqual({ same_bytes: true, same_config: true, same_map: true, loads: true, same_state_dict: true });
    // torch's int8 product of bfloat16 crashes on Python's own file too.
    expect([true, "torch crashes (signal 11)"]).toContain(output);
  });
});

test("a pipeline in diffusers' layout is opened by diffusers as any other, with the output of its own quantization", () => {
  expect(pipeline).toEqual({ quantized: true, same_output: true });
});

describe("what Python wrote is read", () => {
  test.each(["quanto", "diffusers"] as const)("%s", async (layout) => {
    const found = cases.find((one) => one.model === "pixart-tiny" && one.layout === layout);
    const folder = await openFolder(fixturePath(`quant-files/${layout}`));
    const store = await openWeights(folder, "");
    const config = JSON.parse(readFileSync(fixturePath(`quant-files/${layout}/config.json`), "utf8")) as Record<string, unknown>;
    const read = await readQuantization(folder, config, store.tensors.keys());
    await store.close();
    expect(read?.layout).toBe(layout);
    expect(new Set(read?.qtypes.values())).toEqual(new Set([found?.qtype]));
    const modules = [...(read?.qtypes.keys() ?? [])];
    if (found?.quantized !== undefined) expect(modules.sort()).toEqual(found.quantized);
    expect(modules.includes("proj_out")).toBe(layout === "quanto");
    expect(modules.includes("pos_embed.proj")).toBe(layout === "quanto");
    expect(modules).toHaveLength(layout === "quanto" ? 27 : 25);
  });
});

function nameOf({ model, layout, dtype, qtype, exclude }: Case): string {
  return [model, layout, dtype, qtype, ...exclude.map((pattern) => `without ${pattern}`)].join(" ");
}
