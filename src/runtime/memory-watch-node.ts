/**
 * Peaks of the process's memory, seen by a thread that looks every 20 ms: the engine blocks the thread that asked for a picture, and the
 * kernel keeps a peak of resident memory alone, which counts mapped files. Linux only.
 *
 * The thread sleeps while nobody measures; a look takes some 50 microseconds.
 */
import { existsSync } from "node:fs";
import { Worker } from "node:worker_threads";

/** The highest of what was seen; undefined where the system does not tell. */
export interface MemoryPeak {
  /** Not backed by a file: what cannot be dropped under pressure. */
  readonly anonymousBytes: number | undefined;
  readonly residentBytes: number | undefined;
}

const EVERY_MS = 20;
const STATUS = "/proc/self/status";

/** Numbers that both threads see: whether to look, and the peaks in kB. */
const WATCHING = 0;
const ANONYMOUS = 1;
const RESIDENT = 2;

/** The thread's program, as a text, so that it runs from sources and compiled alike. */
const PROGRAM = `
const { openSync, readSync } = require("node:fs");
const { workerData: numbers } = require("node:worker_threads");
const status = openSync("${STATUS}", "r");
const bytes = Buffer.alloc(4096);
const never = new Int32Array(new SharedArrayBuffer(4));
const kilobytes = (text, name) => Number(new RegExp("^" + name + ":\\\\s+(\\\\d+)", "m").exec(text)?.[1] ?? 0);
for (;;) {
  Atomics.wait(numbers, ${WATCHING}, 0);
  const text = bytes.toString("latin1", 0, readSync(status, bytes, 0, bytes.length, 0));
  numbers[${ANONYMOUS}] = Math.max(numbers[${ANONYMOUS}], kilobytes(text, "RssAnon"));
  numbers[${RESIDENT}] = Math.max(numbers[${RESIDENT}], kilobytes(text, "VmRSS"));
  Atomics.wait(never, 0, 0, ${EVERY_MS});
}`;

let shared: Int32Array | undefined;
let watchers = 0;

/** Starts to look, until the function that it returns is called. */
export function watchMemory(): () => void {
  const numbers = numbersOfThread();
  if (numbers === undefined) return () => {};
  watchers++;
  Atomics.store(numbers, WATCHING, 1);
  Atomics.notify(numbers, WATCHING);
  let isWatching = true;
  return () => {
    if (isWatching && --watchers === 0) Atomics.store(numbers, WATCHING, 0);
    isWatching = false;
  };
}

/** The peak since the last call. */
export function takeMemoryPeak(): MemoryPeak {
  const bytes = (at: number) => (shared === undefined ? 0 : Atomics.exchange(shared, at, 0) * 1024) || undefined;
  return { anonymousBytes: bytes(ANONYMOUS), residentBytes: bytes(RESIDENT) };
}

/** One thread a process, started when it is first wanted; it keeps no process alive. */
function numbersOfThread(): Int32Array | undefined {
  if (shared === undefined && existsSync(STATUS)) {
    shared = new Int32Array(new SharedArrayBuffer(3 * Int32Array.BYTES_PER_ELEMENT));
    const worker = new Worker(PROGRAM, { eval: true, workerData: shared, resourceLimits: { maxOldGenerationSizeMb: 16 } });
    // A system that will not have the thread costs the figures, not the picture.
    worker.on("error", () => {});
    worker.unref();
  }
  return shared;
}
