/**
 * Ctrl-C, once: the run is asked to stop. After that the system's own way is restored, so that a second one ends the process at once,
 * even while the engine holds the JavaScript thread.
 */

/** Watches for Ctrl-C and termination. */
export interface Interrupts {
  /** Raised by the first one. */
  readonly signal: AbortSignal;
  /** 128 + the signal's number, as shells have it; undefined as long as none has come. */
  exitCode(): number | undefined;
  stop(): void;
}

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;
type Interrupt = keyof typeof EXIT_CODES;
const INTERRUPTS = Object.keys(EXIT_CODES) as Interrupt[];

/** Begins to watch; `onFirst` is told when the run has been asked to stop. */
export function watchInterrupts(onFirst: () => void): Interrupts {
  const controller = new AbortController();
  let exitCode: number | undefined;
  const stop = () => {
    for (const name of INTERRUPTS) process.removeListener(name, handle);
  };
  const handle = (name: Interrupt) => {
    stop();
    exitCode = EXIT_CODES[name];
    onFirst();
    controller.abort();
  };
  for (const name of INTERRUPTS) process.on(name, handle);
  return { signal: controller.signal, exitCode: () => exitCode, stop };
}
