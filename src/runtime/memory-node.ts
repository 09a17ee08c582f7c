/**
 * What the process holds in memory, as the system sees it: mapped weights count as resident, but not as anonymous.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { totalmem } from "node:os";
import { constrainedMemory, resourceUsage } from "node:process";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Memory of the process in bytes; undefined where the system does not tell. */
export interface MemoryUse {
  readonly residentBytes: number | undefined;
  /** Not backed by a file: what cannot be dropped under pressure. */
  readonly anonymousBytes: number | undefined;
  /** Highest resident memory since the last resetPeak(), or since the process began where it cannot be reset. */
  readonly peakResidentBytes: number | undefined;
}

/** Reads the memory use now. */
export function memoryUse(): MemoryUse {
  const status = readStatus();
  if (status === undefined) {
    return { residentBytes: process.memoryUsage.rss(), anonymousBytes: undefined, peakResidentBytes: resourceUsage().maxRSS * 1024 };
  }
  return { residentBytes: field(status, "VmRSS"), anonymousBytes: field(status, "RssAnon"), peakResidentBytes: field(status, "VmHWM") };
}

/** Memory that this process could have at most: the machine's, or its container's if that is less. */
export function totalMemoryBytes(): number {
  const limit = constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/** How often this process has waited for a page to be read from disk. */
export function majorPageFaults(): number {
  return resourceUsage().majorPageFault;
}

/** Starts a new measurement of the peak, where the system allows it (Linux). */
export function resetPeak(): void {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // Elsewhere the peak is that of the whole process: an upper bound, still true.
  }
}

/**
 * Frees what nobody refers to, now, and gives the heap's empty pages back: left alone, arrays wait until JavaScript itself needs memory, and a
 * heap that has once grown keeps its size (142 MB for 4 MB of objects after an ordinary collection). Takes 5 to 20 ms, so a small heap is left
 * alone: the embedded model's five collections, 30 ms of a command of 0.7 s, freed 2 to 6 MB each and no page.
 */
export function collectGarbage(): void {
  const { total_heap_size, external_memory } = getHeapStatistics();
  if (total_heap_size + external_memory < SMALL_HEAP_BYTES) return;
  setFlagsFromString("--expose-gc");
  collect ??= runInNewContext("gc") as Collect;
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
}

/** Pages of the heap, used or not, and the arrays beside it: 35 MB when a command has read its options and planned. */
const SMALL_HEAP_BYTES = 40e6;

type Collect = (options: { type: "major"; execution: "sync"; flavor: "last-resort" }) => void;
let collect: Collect | undefined;

function readStatus(): string | undefined {
  try {
    return readFileSync("/proc/self/status", "utf8");
  } catch {
    return undefined;
  }
}

function field(status: string, name: string): number | undefined {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status);
  return match === null ? undefined : Number(match[1]) * 1024;
}
