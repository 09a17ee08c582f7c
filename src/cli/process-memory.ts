/** Peaks of another process, looked at from outside while it works: the same way for every program, whatever it says of itself. */
import { readFileSync } from "node:fs";

const EVERY_MS = 20;

/** Highest memory in bytes; undefined where the system does not tell (no /proc). */
export interface ProcessPeak {
  readonly peakAnonymousBytes: number | undefined;
  readonly peakResidentBytes: number | undefined;
}

/** Watches a process until it is asked for the peaks. */
export function watchProcess(pid: number): () => ProcessPeak {
  const highest: Record<string, number | undefined> = {};
  const look = () => {
    const status = statusOf(pid);
    // The kernel keeps a peak of resident memory alone, and the process may set it back.
    for (const name of ["RssAnon", "VmHWM"]) {
      const found = new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1];
      if (found !== undefined) highest[name] = Math.max(highest[name] ?? 0, Number(found) * 1024);
    }
  };
  look();
  const timer = setInterval(look, EVERY_MS);
  return () => {
    clearInterval(timer);
    return { peakAnonymousBytes: highest.RssAnon, peakResidentBytes: highest.VmHWM };
  };
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    // It has ended, or the system has no /proc.
    return "";
  }
}
