/**
 * Shows a run on the terminal: one line that changes where lines can change, else a plain line now and then.
 *
 * The engine holds the JavaScript thread while a segment runs, so no timer turns the spinner then: every event draws it anew.
 */
import { ProgressText, type ShownEvent } from "./progress-text.ts";
import type { Terminal } from "./surroundings.ts";
import { visibleText } from "./units.ts";

/** Shows events. */
export interface Progress {
  show(event: ShownEvent): void;
  /** Takes the changing line away. */
  stop(): void;
}

/** Plain lines about something that is under way come at most this often. */
const PLAIN_INTERVAL_MS = 5000;

/** Chooses how to show a run: not at all, as a changing line, as plain lines. */
export async function createProgress(terminal: Terminal, quiet: boolean, now: () => number = () => performance.now()): Promise<Progress> {
  if (quiet) return { show() {}, stop() {} };
  const text = new ProgressText(() => process.memoryUsage.rss(), now);
  return canRedraw(terminal) ? changingLine(terminal, text) : plainLines(terminal, text, now);
}

/** A terminal that is watched by a person, moves its cursor and knows its width (without, the spinner clears lines for ever). */
export function canRedraw({ stderr, env }: Terminal): boolean {
  return stderr.isTTY === true && (stderr.columns ?? 0) > 0 && env.TERM !== "dumb" && !isSet(env.CI);
}

async function changingLine({ stderr, env }: Terminal, text: ProgressText): Promise<Progress> {
  // Twenty modules, which only a terminal needs.
  const { default: ora } = await import("ora");
  const spinner = ora({
    stream: stderr as NodeJS.WriteStream,
    isEnabled: true,
    color: isSet(env.NO_COLOR) ? false : "cyan",
    // Either would take Ctrl-C away from us: raw input, or a signal handler that restores the cursor.
    discardStdin: false,
    hideCursor: false,
  });
  return {
    show(event) {
      const line = text.next(event);
      if (line === undefined) return;
      spinner.text = visibleText(line.text);
      if (spinner.isSpinning) spinner.render();
      else spinner.start();
    },
    stop() {
      spinner.stop();
    },
  };
}

function plainLines({ stderr }: Terminal, text: ProgressText, now: () => number): Progress {
  let shownAt = now();
  return {
    show(event) {
      const line = text.next(event);
      if (line === undefined || (!line.isMilestone && now() - shownAt < PLAIN_INTERVAL_MS)) return;
      shownAt = now();
      stderr.write(`${visibleText(line.text)}\n`);
    },
    stop() {},
  };
}

function isSet(variable: string | undefined): boolean {
  return variable !== undefined && variable !== "" && variable !== "0" && variable !== "false";
}
