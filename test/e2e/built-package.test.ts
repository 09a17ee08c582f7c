/** What the built package finds beside its code: its worker threads, its errors in one copy, its checkpoint. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { encodeSafetensors } from "../../src/checkpoint/safetensors-layout.ts";
import type * as Halftone from "../../src/index.ts";
import { startCommand, useCompiledPackage } from "../support/command-line.ts";
import { fixturePath } from "../support/fixture.ts";
import { readTensors } from "../support/tensor-file.ts";

const PART = "pipelines/tiny/transformer";
const used = useCompiledPackage();

const built = async () => (await import(pathToFileURL(join(used.dist, "index.js")).href)) as typeof Halftone;

test("a large part is quantized by worker threads", async () => {
  // Enough weights in one matrix to be worth a thread.
  const columns = 2 ** 19;
  const config = JSON.parse(readFileSync(fixturePath(`${PART}/config.json`), "utf8"));
  mkdirSync(join(used.folder, "large"));
  writeFileSync(join(used.folder, "large", "config.json"), JSON.stringify({ ...config, caption_channels: columns }));
  const tensors = Array.from(readTensors(`${PART}/diffusion_pytorch_model.safetensors`), ([name, { shape, values }]) =>
    name === "caption_projection.linear_1.weight"
      ? { name, dtype: "float16" as const, shape: [32, columns], bytes: new Uint8Array(2 * 32 * columns).fill(1) }
      : { name, dtype: "float32" as const, shape: [...shape], bytes: new Uint8Array(values.slice().buffer) },
  );
  writeFileSync(join(used.folder, "large", "diffusion_pytorch_model.safetensors"), encodeSafetensors(tensors));
  const tell = `data:text/javascript,process.on("worker",()=>process.stderr.write("a thread\\n"))`;
  const env = { ...process.env, NODE_OPTIONS: `--import=${encodeURI(tell)}` };
  const flags = ["quantize", "large", "--qtype", "qint8", "--output", "small", "--quiet"];
  const { code, stderr } = await startCommand(used.dist, used.folder, flags, { env });
  expect(stderr).toMatch(/^(a thread\n)+$/);
  expect(code).toBe(0);
});

test("the command and the module share one copy of the errors, whose names are what they were", async () => {
  const module = await built();
  const { HalftoneError, UsageError, quantize, DiffusionModel } = module;
  const load = DiffusionModel.fromPretrained(join(used.folder, "none"));
  await expect(load).rejects.toBeInstanceOf(HalftoneError);
  expect(() => quantize({} as never, { weights: "qint3" } as never)).toThrow(UsageError);
  const files = readdirSync(used.dist, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".js"));
  const declaring = files.filter((file) => /class HalftoneError\b|HalftoneError = class/.test(readFileSync(join(used.dist, file), "utf8")));
  expect(declaring).toHaveLength(1);
  for (const [name, value] of Object.entries(module)) if (name.endsWith("Error")) expect(value).toHaveProperty("name", name);
});

test("the embedded checkpoint lies beside the built code", async () => {
  const { demoModelFolder } = await built();
  expect(demoModelFolder).toBe(join(dirname(used.dist), "models", "demo"));
  expect(existsSync(join(demoModelFolder, "model_index.json"))).toBe(true);
});
