/** Files as diffusers and transformers name them (reference/checkpoint.py saved the same tiny models in each way), and everything that can be wrong. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import type { ByteSource, Folder } from "./byte-source.ts";
import { openFolder } from "./file-source-node.ts";
import { memoryFolder } from "./memory-source.ts";
import { encodeSafetensors } from "./safetensors-layout.ts";
import { readTensor } from "./stored-tensor.ts";
import { listVariants, openWeights } from "./weight-store.ts";

const FIXTURE = "test/fixtures/checkpoint";
type Digests = Record<string, { dtype: string; shape: number[]; sha256: string }>;
const models: Record<string, Record<"plain" | "fp16", Digests>> = JSON.parse(readFileSync(`${FIXTURE}/models.json`, "utf8")).tensors;

describe("what save_pretrained wrote", () => {
  const cases = ["transformer", "text_encoder"].flatMap((component) =>
    ["whole", "sharded"].flatMap((layout) => (["plain", "fp16"] as const).map((variant) => ({ component, layout, variant }))),
  );

  it.each(cases)("$component $layout $variant", async ({ component, layout, variant }) => {
    const folder = await openFolder(`${FIXTURE}/${layout}`);
    const store = await openWeights(folder, component, { variant: variant === "plain" ? undefined : variant });
    const got: Digests = {};
    for (const [name, tensor] of store.tensors) {
      const sha256 = createHash("sha256")
        .update(await readTensor(tensor))
        .digest("hex");
      got[name] = { dtype: `torch.${tensor.dtype}`, shape: [...tensor.shape], sha256 };
    }
    await store.close();
    const want = { ...models[component]?.[variant] };
    // transformers ties this to shared.weight and saves one of them.
    if (component === "text_encoder") delete want["encoder.embed_tokens.weight"];
    expect(got).toEqual(want);
    expect(store.unlisted).toEqual([]);
    expect(store.sizeBytes).toBe([...store.tensors.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
    const sources = new Set([...store.tensors.values()].map(({ source }) => source.file?.fileName));
    expect(sources.size > 1).toBe(layout === "sharded");
  });

  it("lists its variants", async () => {
    const names = async (layout: string, component: string) => {
      const files = await (await openFolder(`${FIXTURE}/${layout}`)).list();
      return files.filter((path) => path.startsWith(`${component}/`)).map((path) => path.slice(component.length + 1));
    };
    for (const { layout, component } of cases) expect(listVariants(await names(layout, component))).toEqual([undefined, "fp16"]);
  });
});

const tensor = (name: string, value = 0) => ({ name, dtype: "uint8" as const, shape: [1], bytes: Uint8Array.of(value) });
const a = encodeSafetensors([tensor("a", 1)]);
const b = encodeSafetensors([tensor("b", 2)]);
const index = (map: Record<string, unknown>) => JSON.stringify({ metadata: { total_size: 99 }, weight_map: map });

/** A folder that counts what is open. */
function folderOf(files: Record<string, Uint8Array | string>): Folder & { openCount: () => number } {
  const folder = memoryFolder("model", Object.fromEntries(Object.entries(files).map(([path, content]) => [`vae/${path}`, content])));
  let open = 0;
  return {
    ...folder,
    openCount: () => open,
    async open(path): Promise<ByteSource | undefined> {
      const source = await folder.open(path);
      if (source) open++;
      return source && { ...source, close: async () => void open-- };
    },
  };
}

describe("which file is taken", () => {
  const values = async (files: Record<string, Uint8Array | string>, options: Parameters<typeof openWeights>[2] = {}) => {
    const store = await openWeights(folderOf(files), "vae", options);
    const read = await Promise.all([...store.tensors].map(async ([name, stored]) => [name, (await readTensor(stored))[0]]));
    return { values: Object.fromEntries(read), name: store.name };
  };

  it("diffusers prefers the index, transformers the single file", async () => {
    const shards = { "x.safetensors": b };
    expect(
      await values({
        ...shards,
        "diffusion_pytorch_model.safetensors": a,
        "diffusion_pytorch_model.safetensors.index.json": index({ b: "x.safetensors" }),
      }),
    ).toEqual({ values: { b: 2 }, name: "model/vae/diffusion_pytorch_model.safetensors.index.json" });
    expect(await values({ ...shards, "model.safetensors": a, "model.safetensors.index.json": index({ b: "x.safetensors" }) })).toEqual({
      values: { a: 1 },
      name: "model/vae/model.safetensors",
    });
  });

  it("diffusers' old name of a variant's index, and base names of the caller's", async () => {
    const old = {
      "diffusion_pytorch_model.safetensors.fp16.index.json": index({ b: "diffusion_pytorch_model-00001-of-00001.fp16.safetensors" }),
      "diffusion_pytorch_model-00001-of-00001.fp16.safetensors": b,
    };
    expect((await values(old, { variant: "fp16" })).values).toEqual({ b: 2 });
    expect((await values({ "qwen.safetensors": a }, { baseNames: ["model", "qwen"] })).values).toEqual({ a: 1 });
  });

  it("a component of the demo model, in milliseconds", async () => {
    const folder = await openFolder("models/demo");
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const start = performance.now();
      const store = await openWeights(folder, "transformer");
      times.push(performance.now() - start);
      expect(store.name).toBe("models/demo/transformer/diffusion_pytorch_model.safetensors");
      expect(store.tensors.size).toBeGreaterThan(100);
      await store.close();
    }
    expect(Math.min(...times)).toBeLessThan(100);
  });
});

describe("tolerated and reported", () => {
  it("tensors that the index does not list", async () => {
    const both = encodeSafetensors([tensor("a", 1), tensor("extra", 3)]);
    const store = await openWeights(
      folderOf({ "model.safetensors.index.json": index({ a: "x.safetensors" }), "x.safetensors": both }),
      "vae",
    );
    expect([...store.tensors.keys()]).toEqual(["a"]);
    expect(store.unlisted).toEqual(["extra"]);
  });

  it("the same tensor in two shards: the index decides", async () => {
    const store = await openWeights(
      folderOf({
        "model.safetensors.index.json": index({ a: "y.safetensors", b: "x.safetensors" }),
        "x.safetensors": encodeSafetensors([tensor("a", 9), tensor("b", 2)]),
        "y.safetensors": a,
      }),
      "vae",
    );
    expect(await readTensor(store.tensors.get("a") as never)).toEqual(Uint8Array.of(1));
    expect(store.unlisted).toEqual([]);
  });

  it("names that JavaScript's objects know", async () => {
    const file = encodeSafetensors([tensor("__proto__", 5), tensor("constructor", 6)]);
    const text = '{"weight_map": {"__proto__": "x.safetensors", "constructor": "x.safetensors"}}';
    const store = await openWeights(folderOf({ "model.safetensors.index.json": text, "x.safetensors": file }), "vae");
    expect([...store.tensors.keys()].sort()).toEqual(["__proto__", "constructor"]);
  });
});

describe("errors, after which nothing is left open", () => {
  const INDEX = "model.safetensors.index.json";
  const where = `model/vae/${INDEX}`;
  const damaged = "the model was not downloaded whole: get it again";

  it.each<[string, Record<string, Uint8Array | string>, object]>([
    ["the index has no weight_map, expected an object of tensor names and shards", { [INDEX]: "[]" }, { where }],
    ["the index has no weight_map, expected an object of tensor names and shards", { [INDEX]: '{"weight_map": []}' }, { where }],
    ["the index lists no tensor", { [INDEX]: index({}) }, { where }],
    ...[
      "../x.safetensors",
      "/x.safetensors",
      "..\\x.safetensors",
      "a/x.safetensors",
      "C:x.safetensors",
      "..",
      "x.bin",
      "",
      "...safetensors",
    ].map((name): [string, Record<string, string>, object] => [
      `the index puts tensor "a" into ${JSON.stringify(name)}, expected the plain name of a file beside it`,
      { [INDEX]: index({ a: name }) },
      { where },
    ]),
    ['the index puts tensor "a" into 3, expected the plain name of a file beside it', { [INDEX]: index({ a: 3 }) }, { where }],
    [
      'shard "y.safetensors" of 2 is missing',
      { [INDEX]: index({ a: "x.safetensors", b: "y.safetensors" }), "x.safetensors": a },
      { where, hint: damaged },
    ],
    [
      'shard "x.safetensors" and 1 more of 2 is missing',
      { [INDEX]: index({ a: "x.safetensors", b: "y.safetensors" }) },
      { where, hint: damaged },
    ],
    [
      'tensor "b" is not in shard "x.safetensors", where the index puts it',
      { [INDEX]: index({ a: "x.safetensors", b: "x.safetensors" }), "x.safetensors": a },
      { where },
    ],
    [
      "the header says it has 1936287828 bytes, expected at most 100000000",
      { [INDEX]: index({ a: "x.safetensors" }), "x.safetensors": "This\0\0\0\0" },
      { where: "model/vae/x.safetensors", hint: "this may not be a safetensors file" },
    ],
    [
      'tensor "a" ends at byte 1 of the data, of which the file has 0',
      { "model.safetensors": a.slice(0, -1) },
      { where: "model/vae/model.safetensors", hint: "the file was cut short or damaged: get it again" },
    ],
    ["the file is not JSON at line 1, column 2: expected a string, got the end", { [INDEX]: "{" }, { where }],
    ['vae has no files, expected "diffusion_pytorch_model.safetensors" or "model.safetensors"', {}, { where: "model/vae" }],
    [
      'vae has no weights, expected "diffusion_pytorch_model.safetensors" or "model.safetensors"',
      { "config.json": "{}" },
      { where: "model/vae" },
    ],
    ['vae has no plain weights, only "fp16"', { "model.fp16.safetensors": a }, { where: "model/vae", hint: 'pass the variant "fp16"' }],
    [
      'vae has no plain weights, only "bf16", "fp16"',
      { "model.fp16.safetensors": a, "diffusion_pytorch_model.safetensors.index.bf16.json": "" },
      { where: "model/vae", hint: 'pass the variant "bf16"' },
    ],
  ])("%s", async (message, files, rest) => {
    const folder = folderOf(files);
    expect(await caught(openWeights(folder, "vae"))).toEqual({ kind: "CheckpointError", message, ...rest });
    expect(folder.openCount()).toBe(0);
  });

  it.each<[string, Record<string, Uint8Array>, object]>([
    ['vae has no weights of variant "fp16", only the plain weights', { "model.safetensors": a }, { hint: "leave the variant out" }],
    [
      'vae has no weights of variant "fp16", only the plain weights, "bf16"',
      { "model.safetensors": a, "model.bf16.safetensors": a },
      { hint: "leave the variant out" },
    ],
    [
      'vae has no weights of variant "fp16", only "bf16"',
      { "model.bf16-00001-of-00001.safetensors": a, "model.bf16.safetensors": a },
      { hint: 'pass the variant "bf16"' },
    ],
    ['vae has no weights, expected "diffusion_pytorch_model.fp16.safetensors" or "model.fp16.safetensors"', { "config.json": a }, {}],
  ])("%s", async (message, files, rest) => {
    expect(await caught(openWeights(folderOf(files), "vae", { variant: "fp16" }))).toEqual({
      kind: "CheckpointError",
      message,
      where: "model/vae",
      ...rest,
    });
  });

  it.each(["pytorch_model.bin", "model.ckpt", "weights.pt", "model.fp16.bin", "model.gguf"])("weights in %s only", async (name) => {
    expect(await caught(openWeights(folderOf({ "config.json": "{}", [name]: a }), "vae"))).toEqual({
      kind: "UnsupportedError",
      message: `vae has its weights in "${name}" only, but halftone reads safetensors only`,
      where: "model/vae",
      hint: "convert them in Python: load the model with diffusers or transformers and call save_pretrained",
    });
  });

  it("a variant or a component that is no name", async () => {
    expect(await caught(openWeights(folderOf({}), "vae", { variant: "../x" }))).toEqual({
      kind: "UsageError",
      message: 'variant "../x" is not a word, expected one such as "fp16"',
    });
    expect((await caught(openWeights(folderOf({}), "../vae"))).message).toBe(
      'path "../vae" is not inside the model folder, expected a relative path of plain names',
    );
  });

  it("a cancelled call", async () => {
    const folder = folderOf({ [INDEX]: index({ a: "x.safetensors" }), "x.safetensors": a });
    expect((await caught(openWeights(folder, "vae", { signal: AbortSignal.abort() }))).kind).toBe("CancelledError");
    expect(folder.openCount()).toBe(0);
  });
});
