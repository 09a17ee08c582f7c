/**
 * Python's fnmatch on a case-sensitive system, on full dotted names: `*` is any characters (dots too), `?` one, `[abc]`, `[a-c]` and `[!a]`
 * sets, and a bracket that is not closed is itself. Not by way of a RegExp: its time would be exponential in the number of stars.
 *
 * Source: CPython fnmatch.py@3.11.
 */

/** What one step of a pattern accepts: a character, or any number of them. */
type Step = "run" | ((char: string) => boolean);

/** Whether a whole name matches a pattern. */
export function matchesPattern(name: string, pattern: string): boolean {
  const steps = parsePattern([...pattern]);
  const chars = [...name];
  let [at, step] = [0, 0];
  // Where to go on if the latest run of characters has to be one longer.
  let retry: { at: number; step: number } | undefined;
  while (at < chars.length || step < steps.length) {
    const accepts = steps[step];
    if (accepts === "run") {
      step += 1;
      retry = { at: at + 1, step };
    } else if (at < chars.length && accepts?.(chars[at] as string)) {
      at += 1;
      step += 1;
    } else if (retry !== undefined && retry.at <= chars.length) {
      ({ at, step } = retry);
      retry = { at: at + 1, step };
    } else {
      return false;
    }
  }
  return true;
}

function parsePattern(pattern: readonly string[]): Step[] {
  const steps: Step[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i] as string;
    const end = char === "[" ? closingBracket(pattern, i + 1) : -1;
    if (char === "*") steps.push("run");
    else if (char === "?") steps.push(() => true);
    else if (end > 0) {
      steps.push(parseSet(pattern.slice(i + 1, end)));
      i = end;
    } else steps.push((other) => other === char);
  }
  return steps;
}

/** A bracket right behind the opening one (or behind its `!`) belongs to the set. */
function closingBracket(pattern: readonly string[], start: number): number {
  const first = pattern[start] === "!" ? start + 1 : start;
  return pattern.indexOf("]", pattern[first] === "]" ? first + 1 : first);
}

/**
 * A set, or what it leaves out behind a `!`. Python drops a range that ends before it begins, and only then looks for the `!`, so that one
 * behind such a range counts: `[d-a!x]` is `[!x]`.
 */
function parseSet(inside: readonly string[]): (char: string) => boolean {
  const code = (char: string) => char.codePointAt(0) as number;
  const members: { from: string; to: string; isRange: boolean }[] = [];
  for (let i = inside[0] === "!" ? 1 : 0; i < inside.length; i++) {
    const from = inside[i] as string;
    const isRange = inside[i + 1] === "-" && i + 2 < inside.length;
    const to = isRange ? (inside[i + 2] as string) : from;
    if (code(from) <= code(to)) members.push({ from, to, isRange });
    if (isRange) i += 2;
  }
  let negated = inside[0] === "!";
  if (!negated && members[0]?.from === "!") {
    const { to, isRange } = members[0];
    negated = true;
    // What is left of a range that has lost its beginning.
    const left = isRange ? ["-", to].map((char) => ({ from: char, to: char, isRange: false })) : [];
    members.splice(0, 1, ...left);
  }
  return (char) => negated !== members.some(({ from, to }) => code(from) <= code(char) && code(char) <= code(to));
}
