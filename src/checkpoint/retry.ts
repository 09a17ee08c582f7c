/**
 * Tries again what may pass: a cut connection, a busy server, a silence. A try that brought something new starts the count afresh, so a long
 * download survives any number of cuts as long as it gets on.
 */
import { CancelledError, DownloadError, HalftoneError } from "../errors.ts";
import { throwIfCancelled } from "./cancel.ts";

/** How patient to be. */
export interface RetryOptions {
  /** Tries without anything new before giving up; 5 unless told. */
  readonly attempts?: number;
  /** Wait before the second try, doubled each time; half a second unless told. */
  readonly retryDelayMs?: number;
  /** Longest silence, before an answer or within it; a minute unless told. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** What is tried. */
export interface RetryTask {
  /** Address, for messages. */
  readonly name: string;
  /** Stops this task alone. */
  readonly signal?: AbortSignal | undefined;
  /** Grows when a try has brought something new. */
  readonly progress?: () => number;
}

/** A failure that may pass; `waitMs` is what the server asked for. */
export class TransientFailure extends Error {
  readonly waitMs: number;

  constructor(message: string, waitMs = 0) {
    super(message);
    this.waitMs = waitMs;
  }
}

/**
 * Runs a task until it succeeds; `keepAlive` has to be called whenever something arrives. HalftoneErrors are final.
 *
 * Errors: DownloadError after the last try; CancelledError.
 */
export async function retrying<T>(
  options: RetryOptions,
  task: RetryTask,
  run: (signal: AbortSignal, keepAlive: () => void) => Promise<T>,
): Promise<T> {
  const { attempts = 5, retryDelayMs = 500, timeoutMs = 60_000 } = options;
  const stop = AbortSignal.any([options.signal, task.signal].filter((signal) => signal !== undefined));
  let failures = 0;
  for (;;) {
    throwIfCancelled(stop);
    const before = task.progress?.() ?? 0;
    const watch = new Watch(timeoutMs);
    try {
      return await run(AbortSignal.any([stop, watch.signal]), () => watch.restart());
    } catch (cause) {
      if (stop.aborted) throw new CancelledError("reading was cancelled", { cause });
      if (cause instanceof HalftoneError) throw cause;
      failures = (task.progress?.() ?? 0) > before ? 1 : failures + 1;
      const reason = watch.signal.aborted ? `nothing came for ${timeoutMs / 1000} seconds` : reasonOf(cause);
      if (failures >= attempts) {
        throw new DownloadError(`the download failed ${attempts} times, the last time with: ${reason}`, {
          where: task.name,
          hint: "try again later",
          cause,
        });
      }
      await sleep(Math.max(retryDelayMs * 2 ** (failures - 1), cause instanceof TransientFailure ? cause.waitMs : 0), stop);
    } finally {
      watch.stop();
    }
  }
}

/** A signal that is raised when nothing has happened for too long. */
class Watch {
  readonly #controller = new AbortController();
  readonly #timeoutMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.restart();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  restart(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(), this.#timeoutMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** Returns early when the signal is raised. */
function sleep(waitMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, waitMs);
    signal.addEventListener("abort", wake);
  });
}

/** fetch hides what went wrong in the cause of its error. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const inner = cause.cause;
  if (inner instanceof Error && "code" in inner) return String(inner.code);
  return inner instanceof Error ? inner.message : cause.message;
}
