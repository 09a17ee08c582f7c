/** A worker thread that quantizes the blocks it is sent: the other end of quantize-pool-node.ts. */
import { parentPort } from "node:worker_threads";
import { CheckpointError } from "../errors.ts";
import { releaseMemory } from "../tensor/releasable.ts";
import { findQType } from "./qtype.ts";
import type { BlockReply, BlockRequest } from "./quantize-pool-node.ts";
import { type QuantizedBlock, quantizeBlock } from "./quantize-weight.ts";
import { layOutWeight } from "./weight-layout.ts";

parentPort?.on("message", (request: BlockRequest) => {
  const reply = answer(request);
  releaseMemory(request.stored);
  const block = "block" in reply ? reply.block : undefined;
  const arrays = block === undefined ? [] : [block.data, block.scale, ...(block.shift === undefined ? [] : [block.shift])];
  parentPort?.postMessage(reply, [...new Set(arrays.map(({ buffer }) => buffer as ArrayBuffer))]);
});

function answer({ id, spec, block, stored, storedDType }: BlockRequest): BlockReply {
  try {
    const layout = layOutWeight({ ...spec, qtype: findQType(spec.qtype) });
    return { id, block: owned(quantizeBlock(layout, block, stored, storedDType)) };
  } catch (error) {
    if (error instanceof CheckpointError) return { id, refused: { message: error.message, where: error.where, hint: error.hint } };
    return { id, defect: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

/** What is sent away is sent with its whole buffer, so views of a larger one are copied. */
function owned({ data, scale, shift }: QuantizedBlock): QuantizedBlock {
  return { data: whole(data), scale: whole(scale), shift: shift && whole(shift) };
}

function whole<A extends Uint8Array<ArrayBuffer> | Float32Array>(array: A): A {
  return (array.byteLength === array.buffer.byteLength ? array : array.slice()) as A;
}
