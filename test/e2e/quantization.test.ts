import { readdirSync } from "node:fs";
import { DiffusionModel, DiffusionPipeline, demoModelFolder, freeze, type PipelineEvent, qint4, qint8, quantize } from "halftone";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { weightCacheFolder } from "../../src/runtime/weight-cache-node.ts";
import { caught } from "../support/caught.ts";
import { expectClose } from "../support/compare.ts";
import { fixturePath } from "../support/fixture.ts";

const tiny = fixturePath("pipelines/tiny");
const quick = { seed: 0, height: 32, width: 32, numInferenceSteps: 1 };
let pipeline: DiffusionPipeline;

beforeEach(async () => {
  pipeline = await DiffusionPipeline.fromPretrained(tiny);
});

afterEach(() => pipeline.dispose());

function transformer(): DiffusionModel {
  return pipeline.transformer as DiffusionModel;
}

describe("quantize and freeze", () => {
  it("mark, then replace; what is left out stays as it is", async () => {
    const before = transformer().weightBytes;
    quantize(pipeline.transformer, { weights: qint8, exclude: "proj_out" });
    expect(transformer().marks.size).toBe(transformer().modules.length - 1);
    expect(transformer().weightBytes).toBe(before);
    await freeze(pipeline.transformer);
    expect(transformer().marks.size).toBe(0);
    expect(transformer().qtypes.has("proj_out")).toBe(false);
    expect(new Set(transformer().qtypes.values())).toEqual(new Set(["qint8"]));
    expect(transformer().weightBytes).toBeLessThan(before);
    expect(transformer().storedBytes).toBe(before);
  });

  it("count convolutions as Quanto does, and no embedding", () => {
    const kinds = new Map(transformer().modules.map(({ name, kind }) => [name, kind]));
    expect(kinds.get("pos_embed.proj")).toBe("conv2d");
    expect(pipeline.textEncoder?.modules.map(({ name }) => name)).not.toContain("shared");
  });

  it("let a later mark of the same layer win", async () => {
    quantize(pipeline.transformer, { weights: qint8 });
    quantize(pipeline.transformer, { weights: "qint4", include: "transformer_blocks.*.ff.*" });
    await freeze(pipeline.transformer);
    expect(transformer().qtypes.get("transformer_blocks.0.ff.net.2")).toBe("qint4");
    expect(transformer().qtypes.get("transformer_blocks.0.attn1.to_q")).toBe("qint8");
  });

  it("happen on the way when a marked pipeline is asked for a picture, once", async () => {
    quantize(pipeline.transformer, { weights: qint4 });
    const events: PipelineEvent[] = [];
    for await (const event of pipeline.stream("a fox", quick)) events.push(event);
    const froze = events.filter((event) => event.type === "freeze");
    expect(froze.map(({ part, frozenBytes }) => [part, frozenBytes])).toEqual([
      ["transformer", undefined],
      ["transformer", transformer().weightBytes],
    ]);
    const { images } = await pipeline.generate("a fox", quick);
    expect(images[0]?.recipe.qtypes).toEqual({ transformer: "qint4" });
  });

  it("leave one file in the execution cache, which the next process finds", async () => {
    const model = await DiffusionModel.fromPretrained(tiny, { subfolder: "text_encoder" });
    quantize(model, { weights: "qint2" });
    await freeze(model);
    const files = readdirSync(weightCacheFolder());
    const again = await DiffusionModel.fromPretrained(tiny, { subfolder: "text_encoder" });
    quantize(again, { weights: "qint2" });
    const reads: number[] = [];
    await again.freeze({ onProgress: (done) => reads.push(done) });
    expect(reads).toEqual([]);
    expect(readdirSync(weightCacheFolder())).toEqual(files);
    await model.dispose();
    await again.dispose();
  });
});

describe("what is refused", () => {
  it("the VAE", async () => {
    const error = await caught(async () => quantize(pipeline.vae, { weights: qint8 }));
    expect(error.message).toBe("vae cannot be quantized: a VAE becomes numerically unstable and would save little");
  });

  it("a part that is quantized already", async () => {
    quantize(pipeline.transformer, { weights: qint8 });
    await freeze(pipeline.transformer);
    const error = await caught(async () => quantize(pipeline.transformer, { weights: qint4 }));
    expect(error.message).toBe("transformer is quantized already");
  });

  it("freezing what is not marked", async () => {
    const error = await caught(() => freeze(pipeline.transformer));
    expect([error.message, error.hint]).toEqual([
      "transformer has nothing to freeze",
      "mark it first: quantize(model, { weights: qint8 })",
    ]);
  });

  it("an unknown qtype, with the nearest", async () => {
    const error = await caught(async () => quantize(pipeline.transformer, { weights: "qint9" }));
    expect(error.message).toMatch(/^qtype must be one of .*, got "qint9"$/);
    expect(error.hint).toMatch(/^did you mean qint\d\?$/);
  });

  it("an optimizer that does not fit", async () => {
    const error = await caught(async () => quantize(pipeline.transformer, { weights: qint8, optimizer: "hqq" }));
    expect(error.message).toMatch(/hqq/);
  });

  it("a pattern that matches no layer, with a near one", async () => {
    const error = await caught(async () => quantize(pipeline.transformer, { weights: qint8, exclude: "proj_ot" }));
    expect([error.message, error.hint]).toEqual([
      'exclude pattern "proj_ot" matches no linear layer or convolution of transformer',
      'near matches: "proj_out"',
    ]);
    const leaf = await caught(async () => quantize(pipeline.transformer, { weights: qint8, exclude: "to_q" }));
    expect(leaf.hint).toBe('a pattern must match the whole name: "*.to_q" matches 4 modules');
  });

  it("a part that is not there", async () => {
    const empty = await DiffusionPipeline.fromPretrained(tiny, { transformer: null });
    const error = await caught(async () => quantize(empty.transformer, { weights: qint8 }));
    expect(error.message).toBe("there is no part to quantize: the pipeline was opened without it");
    await empty.dispose();
  });
});

describe("pipeline.quantize", () => {
  it("means the transformer and every text encoder by a bare qtype, never the VAE", async () => {
    pipeline.quantize("qint8");
    expect(transformer().marks.size).toBe(transformer().modules.length);
    expect(pipeline.textEncoder?.marks.size).toBe(pipeline.textEncoder?.modules.length);
    expect(pipeline.vae?.marks.size).toBe(0);
  });

  it("takes a qtype for each part, and patterns that fit one of them", async () => {
    pipeline.quantize("transformer=qint4,text_encoder=qfloat8", { exclude: ["proj_out"] });
    expect(transformer().marks.get("proj_out")).toBeUndefined();
    expect(transformer().marks.get("caption_projection.linear_1")?.qtype.name).toBe("qint4");
    expect(pipeline.textEncoder?.marks.get("encoder.block.0.layer.0.SelfAttention.q")?.qtype.name).toBe("qfloat8_e4m3fn");
  });

  it.each([
    ["vae=qint8", /vae cannot be quantized/],
    ["unet=qint8", /unet/],
    ["qint7", /qtype must be one of/],
  ])("refuses %s", async (spec, message) => {
    expect((await caught(async () => pipeline.quantize(spec))).message).toMatch(message);
  });
});

describe("fuseQkvProjections", () => {
  it.each([undefined, "qint8", "qfloat8", "qint4", "qint2"])("changes nothing but the number of products, with %s", async (qtype) => {
    if (qtype !== undefined) pipeline.quantize(`transformer=${qtype}`);
    const apart = await pipeline.generate("a fox", quick);
    transformer().fuseQkvProjections();
    const fused = await pipeline.generate("a fox", quick);
    expectClose(fused.report.latents.data, apart.report.latents.data, 1e-6, "latents");
    transformer().unfuseQkvProjections();
    expect((await pipeline.generate("a fox", quick)).report.latents.data).toEqual(apart.report.latents.data);
  });

  it("works on layers of different qtypes", async () => {
    quantize(pipeline.transformer, { weights: qint8 });
    quantize(pipeline.transformer, { weights: qint4, include: "*.to_k" });
    const apart = await pipeline.generate("a fox", quick);
    transformer().fuseQkvProjections();
    expectClose((await pipeline.generate("a fox", quick)).report.latents.data, apart.report.latents.data, 1e-6, "latents");
  });

  it("is refused for a part without such layers", async () => {
    const error = await caught(async () => pipeline.textEncoder?.fuseQkvProjections());
    expect(error.message).toBe("text_encoder (T5EncoderModel) has no projections to fuse, only diffusers' transformers have");
  });
});

it("the picture of the demo in qint8 is nearly the float one", async () => {
  const demo = await DiffusionPipeline.fromPretrained(demoModelFolder);
  const request = { seed: 0, numInferenceSteps: 8 };
  const float = (await demo.generate("a red apple on a blue background", request)).images[0]?.data as Uint8Array;
  demo.quantize("qint8");
  const quantized = (await demo.generate("a red apple on a blue background", request)).images[0]?.data as Uint8Array;
  await demo.dispose();
  const mean = float.reduce((sum, value, i) => sum + Math.abs(value - (quantized[i] as number)), 0) / float.length;
  expect(mean).toBeGreaterThan(0);
  expect(mean).toBeLessThan(4);
});
