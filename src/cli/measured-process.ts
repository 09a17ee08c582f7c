/** Runs a program to its end and says what it printed, how long it took and what memory it had. Ctrl-C ends it, too. */
import { spawn } from "node:child_process";
import { CancelledError, FileError } from "../index.ts";
import { type ProcessPeak, watchProcess } from "./process-memory.ts";

/** A program that has ended. */
export interface EndedProcess extends ProcessPeak {
  readonly code: number | null;
  readonly killedBy: NodeJS.Signals | null;
  readonly stdout: string;
  /** Its last part. */
  readonly stderr: string;
  /** From its start to its end. */
  readonly seconds: number;
}

/** What it is given. */
export interface ProcessOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** Enough for the last lines of a long traceback. */
const STDERR_LETTERS = 100_000;
const STDOUT_LETTERS = 64_000_000;
/** A program that is asked to end may clean up; one that does not listen is ended. */
const PATIENCE_MS = 10_000;

/** Runs a program. Errors: FileError when it cannot be started; CancelledError once it has ended because of the signal. */
export function runMeasured([program, ...args]: readonly [string, ...string[]], { env, signal }: ProcessOptions): Promise<EndedProcess> {
  if (signal.aborted) return Promise.reject(new CancelledError("the run was cancelled"));
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...env }, windowsHide: true });
    const peaks = child.pid === undefined ? undefined : watchProcess(child.pid);
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (stdout.length < STDOUT_LETTERS) stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr = (stderr + text).slice(-STDERR_LETTERS);
    });
    let impatience: NodeJS.Timeout | undefined;
    const stop = () => {
      child.kill("SIGTERM");
      impatience = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
    };
    signal.addEventListener("abort", stop, { once: true });
    const leave = () => {
      signal.removeEventListener("abort", stop);
      clearTimeout(impatience);
      return peaks?.() ?? { peakAnonymousBytes: undefined, peakResidentBytes: undefined };
    };
    child.on("error", (cause) => {
      leave();
      reject(new FileError(`"${program}" cannot be started: ${cause.message}`, { cause }));
    });
    child.on("close", (code, killedBy) => {
      const seconds = (performance.now() - started) / 1000;
      const found = leave();
      if (signal.aborted) reject(new CancelledError("the run was cancelled"));
      else resolve({ code, killedBy, stdout, stderr, seconds, ...found });
    });
  });
}
