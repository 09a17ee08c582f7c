/**
 * Quantizes blocks of weights on all cores: worker threads that get a block's bytes and give back its codes, neither of them copied.
 *
 * Threads are started when the first block comes, and are worth it from some millions of weights on (starting two takes about 0.1 s).
 */
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { CheckpointError } from "../errors.ts";
import type { DType } from "../tensor/dtype.ts";
import type { QTypeName } from "./qtype.ts";
import { type QuantizedBlock, quantizeBlock } from "./quantize-weight.ts";
import type { WeightBlock, WeightLayout, WeightSpec } from "./weight-layout.ts";

/** Quantizes blocks; several may be under way. */
export interface QuantizePool {
  /** How many blocks are worked on at the same time. */
  readonly threads: number;
  /** As quantizeBlock; takes `stored` away from the caller. */
  quantize(layout: WeightLayout, block: WeightBlock, stored: Uint8Array, storedDType: DType): Promise<QuantizedBlock>;
  close(): Promise<void>;
}

/** What a worker is sent: a layout is made anew there, since a qtype is a value whose identity counts. */
export interface BlockRequest {
  readonly id: number;
  readonly spec: Omit<WeightSpec, "qtype"> & { readonly qtype: QTypeName };
  readonly block: WeightBlock;
  readonly stored: Uint8Array;
  readonly storedDType: DType;
}

/** What it answers: the block, or the parts of an error. */
export type BlockReply = { readonly id: number } & (
  | { readonly block: QuantizedBlock }
  | { readonly refused: { readonly message: string; readonly where: string | undefined; readonly hint: string | undefined } }
  | { readonly defect: string }
);

/** More threads than this wait for the disk. */
const MOST_THREADS = 8;
/** The compiled worker; Node 20 cannot run it from the sources, so there everything is done by the one thread. */
const WORKER = new URL("./quantize-worker-node.js", import.meta.url);

/** Makes a pool; `threads` 0 works in the calling thread alone. */
export function quantizePool(threads = defaultThreads()): QuantizePool {
  return threads === 0 ? callingThread : new Threads(threads);
}

/** One thread a core, none where the sources are run uncompiled. */
export function defaultThreads(): number {
  return existsSync(fileURLToPath(WORKER)) ? Math.min(MOST_THREADS, availableParallelism()) : 0;
}

const callingThread: QuantizePool = {
  threads: 1,
  async quantize(layout, block, stored, storedDType) {
    return quantizeBlock(layout, block, stored, storedDType);
  },
  async close() {},
};

interface Waiting {
  resolve(block: QuantizedBlock): void;
  reject(error: Error): void;
}

class Threads implements QuantizePool {
  readonly threads: number;
  readonly #workers: { readonly worker: Worker; readonly waiting: Map<number, Waiting> }[] = [];
  #nextId = 0;

  constructor(threads: number) {
    this.threads = threads;
  }

  quantize(layout: WeightLayout, block: WeightBlock, stored: Uint8Array, storedDType: DType): Promise<QuantizedBlock> {
    const { name, shape, dtype, qtype, optimizer } = layout;
    const spec = { name, shape, dtype, optimizer, qtype: qtype.name };
    const { worker, waiting } = this.#leastBusy();
    const id = this.#nextId++;
    const request: BlockRequest = { id, spec, block, stored, storedDType };
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      worker.postMessage(request, stored.buffer instanceof ArrayBuffer ? [stored.buffer] : []);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.splice(0).map(({ worker }) => worker.terminate()));
  }

  #leastBusy() {
    if (this.#workers.length < this.threads && this.#workers.every(({ waiting }) => waiting.size > 0)) this.#workers.push(startWorker());
    const [first, ...others] = this.#workers;
    if (first === undefined) throw new Error("a pool has no worker");
    return others.reduce((best, other) => (other.waiting.size < best.waiting.size ? other : best), first);
  }
}

function startWorker() {
  const worker = new Worker(WORKER);
  const waiting = new Map<number, Waiting>();
  worker.on("message", (reply: BlockReply) => {
    const found = waiting.get(reply.id);
    waiting.delete(reply.id);
    if ("block" in reply) found?.resolve(reply.block);
    else if ("refused" in reply) found?.reject(new CheckpointError(reply.refused.message, reply.refused));
    else found?.reject(new Error(reply.defect));
  });
  const fail = (error: Error) => {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  worker.on("error", fail);
  worker.on("exit", () => fail(new Error("a worker of the quantization ended early")));
  return { worker, waiting };
}
