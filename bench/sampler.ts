/** Memory of another process, sampled from /proc while it works: a busy engine blocks its own process's timers. Linux only. */
import { readFileSync } from "node:fs";

const EVERY_MS = 20;

/** One look at a process. */
interface Sample {
  readonly at: number;
  readonly anonymous: number;
  readonly resident: number;
}

/** Highest memory in bytes; anonymous memory is what no file backs. */
export interface Peak {
  readonly anonymousBytes: number;
  readonly residentBytes: number;
}

/** Samples a process until stop() is called. */
export class Sampler {
  readonly #samples: Sample[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(pid: number) {
    this.#timer = setInterval(() => this.#look(pid), EVERY_MS);
  }

  /** The peak between two moments of Date.now(). */
  peak(from: number, to: number): Peak {
    const within = this.#samples.filter(({ at }) => at >= from && at <= to);
    return {
      anonymousBytes: Math.max(0, ...within.map(({ anonymous }) => anonymous)),
      residentBytes: Math.max(0, ...within.map(({ resident }) => resident)),
    };
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #look(pid: number): void {
    try {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) * 1024;
      this.#samples.push({ at: Date.now(), anonymous: bytes("RssAnon"), resident: bytes("VmRSS") });
    } catch {
      // The process has ended.
    }
  }
}
