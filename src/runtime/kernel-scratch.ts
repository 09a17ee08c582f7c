/**
 * What operators allocate for themselves while they run, beside their outputs: attention alone takes an amount worth counting.
 *
 * Gelu works in pieces of 4,096 numbers, a convolution in pieces of its threads' own; products use no pre-packed copies here.
 * Source: microsoft/onnxruntime@1.30 contrib_ops/cpu/bert/{multihead_attention.cc,attention_cpu_base.h}; the engine's
 * profile does not show what an operator has given back before it ends.
 */
import type { GraphNode, Value } from "../graph/graph.ts";

/** A tile of queries, keys and scores for each thread, as large as half of a usual second-level cache. */
const FLASH_BYTES = 2 ** 20;

/** Sizes in bytes of an operator's scratch buffers, in the order in which they are taken; all are held until it ends. */
export function kernelScratch(node: GraphNode, shapeOf: (name: string) => Value["shape"] | undefined): number[] {
  if (node.operator !== "MultiHeadAttention") return [];
  const [query = "", key = "", , , mask = "", bias = ""] = node.inputs;
  const [batch = 1, queries = 1, width = 1] = shapeOf(query) ?? [];
  const keys = shapeOf(key)?.[1] ?? 1;
  const byHead = [4 * batch * queries * width, 4 * batch * keys * width, 4 * batch * keys * width];
  // The fused kernel takes neither mask nor bias: with one of them all scores are written out at once.
  if (mask === "" && bias === "") return [...byHead, FLASH_BYTES];
  return [...byHead, 4 * batch * Number(node.attributes.num_heads) * queries * keys, byHead[0] as number];
}
