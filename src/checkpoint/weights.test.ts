import { describe, expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { memoryFolder } from "./memory-source.ts";
import { encodeSafetensors } from "./safetensors-layout.ts";
import { openWeights } from "./weight-store.ts";
import { Weights } from "./weights.ts";

async function weights(): Promise<Weights> {
  const names = [
    "transformer_blocks.3.attn1.to_q.weight",
    "transformer_blocks.3.attn1.to_k.weight",
    "pos_embed.proj.bias",
    "scale_shift_table",
  ];
  const file = encodeSafetensors(names.map((name) => ({ name, dtype: "uint8", shape: [2, 3], bytes: new Uint8Array(6) })));
  const folder = memoryFolder("model", { "transformer/diffusion_pytorch_model.safetensors": file });
  return Weights.of(await openWeights(folder, "transformer"));
}

describe("Weights", () => {
  it("mirrors the checkpoint's names", async () => {
    const root = await weights();
    const attention = root.at("transformer_blocks", 3).at("attn1");
    expect(attention.path).toBe("transformer_blocks.3.attn1");
    expect(attention.component).toBe("transformer");
    expect(attention.at("to_q").tensor("weight", [2, 3])).toMatchObject({ name: "transformer_blocks.3.attn1.to_q.weight", sizeBytes: 6 });
    expect(attention.tensor("to_k.weight", [2, 3]).name).toBe("transformer_blocks.3.attn1.to_k.weight");
    expect(root.tensor("scale_shift_table", [2, 3]).name).toBe("scale_shift_table");
    expect(root.path).toBe("");
    expect([attention.has("to_q.weight"), attention.has("to_q"), attention.has("to_q.bias")]).toEqual([true, false, false]);
  });

  it("lists what nobody asked for, of the whole and of a part", async () => {
    const root = await weights();
    const block = root.at("transformer_blocks", 3);
    block.tensor("attn1.to_q.weight", [2, 3]);
    block.has("attn1.to_k.weight");
    expect(root.unused()).toEqual(["pos_embed.proj.bias", "scale_shift_table", "transformer_blocks.3.attn1.to_k.weight"]);
    expect(block.unused()).toEqual(["transformer_blocks.3.attn1.to_k.weight"]);
  });

  it.each([[[3, 2]], [[2]], [[2, 3, 1]], [[]]])("refuses the shape %j", async (shape) => {
    const root = await weights();
    expect(await caught(() => root.at("transformer_blocks", 3, "attn1", "to_q").tensor("weight", shape))).toEqual({
      kind: "CheckpointError",
      message: `transformer weight "transformer_blocks.3.attn1.to_q.weight" has shape [2, 3], expected [${shape.join(", ")}]`,
      where: "model/transformer/diffusion_pytorch_model.safetensors",
      hint: "transformer/config.json and the weights may belong to different models",
    });
    expect(root.unused()).toHaveLength(4);
  });

  it("names the nearest to what is missing", async () => {
    const root = await weights();
    expect(await caught(() => root.at("transformer_blocks", 3, "attn1").tensor("to_q.bias", [2]))).toEqual({
      kind: "CheckpointError",
      message: 'transformer weight "transformer_blocks.3.attn1.to_q.bias" is missing',
      where: "model/transformer/diffusion_pytorch_model.safetensors",
      hint: 'the nearest name there is "transformer_blocks.3.attn1.to_q.weight"',
    });
    expect(await caught(() => root.tensor("lm_head", [2]))).toMatchObject({
      message: 'transformer weight "lm_head" is missing',
      hint: "transformer/config.json and the weights may belong to different models",
    });
  });
});
