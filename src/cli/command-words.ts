/** Takes a command line apart: words between blanks, quotes around words with blanks. Nothing else is special, so that no shell is needed. */
import { UsageError } from "../index.ts";

/**
 * Splits a command line: `python "my peer.py" --x 'a b'` is four words. A backslash is a backslash.
 *
 * Errors: UsageError naming the flag, for a quote without its end or no word at all.
 */
export function commandWords(text: string, flag: string): readonly [string, ...string[]] {
  const words = Array.from(text.matchAll(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g), ([word]) => word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"));
  const rest = text.replace(/"[^"]*"|'[^']*'/g, "");
  if (/["']/.test(rest)) throw new UsageError(`${flag} has a quote without its end: ${text}`);
  const [first, ...others] = words;
  if (first === undefined) throw new UsageError(`${flag} expects a command, got an empty text`);
  return [first, ...others];
}
