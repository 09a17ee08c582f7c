/** Stops work that the caller no longer wants: one check, between one piece of work and the next. */
import { CancelledError } from "../errors.ts";

/** Throws CancelledError if the signal has been raised. */
export function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new CancelledError("reading was cancelled", { cause: signal.reason });
}
