/** Worker threads of quantization, which only run compiled: module by module here, so that their number can be told. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import type * as FileSource from "../../src/checkpoint/file-source-node.ts";
import { encodeSafetensors } from "../../src/checkpoint/safetensors-layout.ts";
import type * as WeightStore from "../../src/checkpoint/weight-store.ts";
import type * as QTypes from "../../src/quant/qtype.ts";
import type * as WriteTensors from "../../src/quant/write-tensors-node.ts";
import { compileModules, useCompiledPackage } from "../support/command-line.ts";
import { fixturePath } from "../support/fixture.ts";

const used = useCompiledPackage(compileModules);

describe("worker threads", () => {
  const module = async <T>(path: string) => (await import(pathToFileURL(join(used.dist, path)).href)) as T;

  test.each(["qint8", "qint4", "qfloat8"])("write the same bytes as the calling thread: %s", async (qtype) => {
    const { plan, close } = await planOf(fixturePath("models/pixart-sigma"), qtype);
    const { writeTensorFile } = await module<typeof WriteTensors>("quant/write-tensors-node.js");
    for (const threads of [0, 1, 3]) await writeTensorFile(join(used.folder, `${threads}.safetensors`), plan, { threads });
    await close();
    const written = (threads: number) => readFileSync(join(used.folder, `${threads}.safetensors`));
    expect(written(1).equals(written(0))).toBe(true);
    expect(written(3).equals(written(0))).toBe(true);
  });

  test("say what is wrong with a weight, and stop when they are told to", async () => {
    const weights = new Float32Array(64 * 64).fill(1);
    weights[65] = Number.NaN;
    const bytes = new Uint8Array(weights.buffer);
    mkdirSync(join(used.folder, "bad"));
    writeFileSync(
      join(used.folder, "bad", "model.safetensors"),
      encodeSafetensors([{ name: "a.weight", dtype: "float32", shape: [64, 64], bytes }]),
    );
    const { plan, close } = await planOf(join(used.folder, "bad"), "qint8");
    const { writeTensorFile } = await module<typeof WriteTensors>("quant/write-tensors-node.js");
    const output = join(used.folder, "out.safetensors");
    await expect(writeTensorFile(output, plan, { threads: 2 })).rejects.toMatchObject({
      name: "CheckpointError",
      message: 'weight "a.weight" holds NaN at [1, 1], expected finite numbers to quantize',
    });
    await expect(writeTensorFile(output, plan, { threads: 2, signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: "CancelledError",
    });
    await close();
    expect(readdirSync(used.folder)).toEqual(["bad"]);
  });

  /** Every matrix of a folder quantized, the rest copied in float16. */
  async function planOf(path: string, word: string) {
    const { openFolder } = await module<typeof FileSource>("checkpoint/file-source-node.js");
    const { openWeights } = await module<typeof WeightStore>("checkpoint/weight-store.js");
    const { findQType } = await module<typeof QTypes>("quant/qtype.js");
    const store = await openWeights(await openFolder(path), "");
    const plan = [...store.tensors.values()].map((stored) =>
      stored.name.endsWith(".weight") && stored.shape.length > 1
        ? { stored, quantize: { qtype: findQType(word), dtype: "float32" as const } }
        : { stored, saveAs: "float16" as const },
    );
    return { plan, close: () => store.close() };
  }
});
