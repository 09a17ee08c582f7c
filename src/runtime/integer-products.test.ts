/** Which integer products are chosen, on engines whose signed ones overflow as those of x86 without VNNI do. */
import { expect, it } from "vitest";
import type { FloatTensor } from "../tensor/tensor.ts";
import { exactIntegerProducts } from "./integer-products.ts";
import { onnxRuntimeNode } from "./onnxruntime-node.ts";
import type { Runtime } from "./runtime.ts";

/** The same engine, but sums of these kinds are cut off. */
function overflowing(kinds: readonly ("int8" | "uint8")[]): Runtime & { compiled: number } {
  const inner = onnxRuntimeNode({ threads: 1 });
  const runtime = {
    name: "overflowing",
    compiled: 0,
    async compile(graph: Parameters<Runtime["compile"]>[0], options: Parameters<Runtime["compile"]>[1]) {
      runtime.compiled++;
      const program = await inner.compile(graph, options);
      const overflows = kinds.includes(graph.weights.get("weight")?.dtype as "int8");
      return {
        async run(inputs: Parameters<typeof program.run>[0]) {
          const outputs = await program.run(inputs);
          // Pairs of 255 * 127 are held in 16 bits.
          const { y } = outputs as Record<string, FloatTensor>;
          if (!overflows || y === undefined) return outputs;
          return { y: { ...y, data: y.data.map((sum) => Math.sign(sum) * Math.min(Math.abs(sum), 128 * 32767)) } };
        },
        dispose: () => program.dispose(),
      };
    },
  };
  return runtime;
}

it("takes signed codes where they are exact, and asks once", async () => {
  const runtime = overflowing([]);
  const kind = await exactIntegerProducts(runtime);
  expect(["signed", "unsigned"]).toContain(kind);
  const asked = runtime.compiled;
  expect(await exactIntegerProducts(runtime)).toBe(kind);
  expect(runtime.compiled).toBe(asked);
});

it("takes codes without signs where signed ones overflow", async () => {
  expect(await exactIntegerProducts(overflowing(["int8"]))).toBe("unsigned");
});

it("refuses where nothing is exact", async () => {
  await expect(exactIntegerProducts(overflowing(["int8", "uint8"]))).rejects.toThrow(
    "the engine does not multiply 8-bit integers exactly on this processor, which a fast run needs",
  );
});
