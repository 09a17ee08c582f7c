import { describe, expect, test } from "vitest";
import { memoryFolder } from "./memory-source.ts";
import { encodeSafetensors } from "./safetensors-layout.ts";
import { planShards } from "./shard-plan.ts";
import { openWeights } from "./weight-store.ts";

const bytes = (name: string, size: number) => ({ name, dtype: "int8", shape: [size] }) as const;
const names = (plan: ReturnType<typeof planShards>) =>
  plan.files.map(({ fileName, tensors }) => [fileName, tensors.map(({ name }) => name)]);

describe("planShards", () => {
  test("one file has the plain name and no index", () => {
    const plan = planShards([bytes("b", 5), bytes("a", 5)], "model", 10);
    expect(names(plan)).toEqual([["model.safetensors", ["a", "b"]]]);
    expect(plan.index).toBeUndefined();
    expect(names(planShards([], "model", 10))).toEqual([["model.safetensors", []]]);
  });

  test("fills files in the natural order of names, up to the limit", () => {
    const plan = planShards([bytes("blocks.10.w", 4), bytes("blocks.2.w", 4), bytes("blocks.9.w", 4), bytes("out", 2)], "model", 8);
    expect(names(plan)).toEqual([
      ["model-00001-of-00002.safetensors", ["blocks.2.w", "blocks.9.w"]],
      ["model-00002-of-00002.safetensors", ["blocks.10.w", "out"]],
    ]);
  });

  test("a tensor above the limit has a file of its own", () => {
    const plan = planShards([bytes("a", 1), bytes("b", 9), bytes("c", 1)], "model", 8);
    expect(names(plan).map(([, tensors]) => tensors)).toEqual([["b"], ["a", "c"]]);
  });

  test("the index is Python's, and the files are opened by it", async () => {
    const tensors = ["b.1", "b.10", "b.2"].map((name, i) => ({ ...bytes(name, 4), bytes: new Uint8Array(4).fill(i) }));
    const { files, index } = planShards(tensors, "diffusion_pytorch_model", 8);
    expect(index?.fileName).toBe("diffusion_pytorch_model.safetensors.index.json");
    expect(index?.text).toBe(
      '{\n  "metadata": {\n    "total_size": 12\n  },\n  "weight_map": {\n    "b.1": "diffusion_pytorch_model-00001-of-00002.safetensors",\n    "b.10": "diffusion_pytorch_model-00002-of-00002.safetensors",\n    "b.2": "diffusion_pytorch_model-00001-of-00002.safetensors"\n  }\n}\n',
    );
    const encoded = files.map(({ fileName, tensors: inFile }) => {
      return [fileName, encodeSafetensors(tensors.filter(({ name }) => inFile.some((spec) => spec.name === name)))] as const;
    });
    const folder = memoryFolder("model", Object.fromEntries([...encoded, [index?.fileName ?? "", index?.text ?? ""]]));
    expect([...(await openWeights(folder, "")).tensors.keys()].sort()).toEqual(["b.1", "b.10", "b.2"]);
  });
});
