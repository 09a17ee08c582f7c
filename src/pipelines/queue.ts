/** Lets one request at a time through: a pipeline's parts are shared, and two requests must never mix. */
import { CancelledError } from "../errors.ts";

/** A line of waiting requests. */
export class Queue {
  #last: Promise<void> = Promise.resolve();

  /**
   * Waits for its turn; the returned function ends it and must be called.
   *
   * Errors: CancelledError when the signal was raised while waiting.
   */
  async enter(signal?: AbortSignal): Promise<() => void> {
    const before = this.#last;
    let leave = () => {};
    const turn = new Promise<void>((resolve) => {
      leave = resolve;
    });
    this.#last = before.then(() => turn);
    const cancelled = waitForAbort(signal);
    try {
      await Promise.race([before, cancelled.promise]);
    } finally {
      cancelled.forget();
    }
    if (signal?.aborted) {
      leave();
      throw new CancelledError("stopped on request while waiting for another picture", { cause: signal.reason });
    }
    return leave;
  }
}

function waitForAbort(signal: AbortSignal | undefined): { promise: Promise<void>; forget: () => void } {
  let forget = () => {};
  const promise = new Promise<void>((resolve) => {
    if (signal === undefined) return;
    const stop = () => resolve();
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    forget = () => signal.removeEventListener("abort", stop);
  });
  return { promise, forget };
}
