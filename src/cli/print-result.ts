/** How a command that leaves files ends: the same for all of them. */
import type { Terminal } from "./surroundings.ts";

/** What there is to say. */
export interface CommandResult {
  /** For --json. */
  readonly object: unknown;
  /** For people: whole lines. */
  readonly summary: string;
  /** What was written, as far as a script wants to know. */
  readonly names: readonly string[];
}

/** Prints the object alone with --json; else the summary on stderr, and on stdout a name a line. */
export function printResult(
  { stdout, stderr }: Pick<Terminal, "stdout" | "stderr">,
  { json, quiet }: { readonly json?: boolean | undefined; readonly quiet?: boolean | undefined },
  { object, summary, names }: CommandResult,
): void {
  if (json === true) {
    stdout.write(`${JSON.stringify(object, undefined, 2)}\n`);
    return;
  }
  if (quiet !== true) stderr.write(summary);
  // On a terminal the summary has named them already.
  const isNamed = quiet !== true && stdout.isTTY === true && stderr.isTTY === true;
  if (!isNamed) stdout.write(names.map((name) => `${name}\n`).join(""));
}
