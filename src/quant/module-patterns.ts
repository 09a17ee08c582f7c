/**
 * Which modules the options `include` and `exclude` mean, and what a pattern that means none may have been meant for.
 *
 * Source: optimum-quanto quantize.py@0.2.7; differs: a pattern that matches nothing is an error.
 */
import { quote } from "../checkpoint/stored-tensor.ts";
import { nearestWord, UsageError } from "../errors.ts";
import { matchesPattern } from "./fnmatch.ts";

/** Patterns of full module names: those that match `include`, if there is one, and nothing of `exclude`. */
export interface ModulePatterns {
  readonly include?: string | readonly string[] | undefined;
  readonly exclude?: string | readonly string[] | undefined;
}

/** The names that `include` and `exclude` leave in; an empty list as `include` leaves none. */
export function selectModules(names: readonly string[], { include, exclude }: ModulePatterns): string[] {
  const matches = (name: string, patterns: readonly string[]) => patterns.some((pattern) => matchesPattern(name, pattern));
  return names.filter((name) => (include === undefined || matches(name, listOf(include))) && !matches(name, listOf(exclude)));
}

function listOf(patterns: string | readonly string[] | undefined): readonly string[] {
  return patterns === undefined ? [] : typeof patterns === "string" ? [patterns] : patterns;
}

/**
 * Checks that each pattern matches at least one of the names, which are those of all parts that the patterns are meant for; `where` says
 * these parts in words: "transformer or text_encoder".
 *
 * Errors: UsageError that names the pattern and what it may have meant.
 */
export function checkPatterns(patterns: ModulePatterns, names: readonly string[], where: string): void {
  for (const option of ["include", "exclude"] as const) {
    const wrong = listOf(patterns[option]).find((pattern) => !names.some((name) => matchesPattern(name, pattern)));
    if (wrong === undefined) continue;
    throw new UsageError(`${option} pattern ${quote(wrong)} matches no linear layer or convolution of ${where}`, {
      hint: hintFor(wrong, names),
    });
  }
}

function hintFor(pattern: string, names: readonly string[]): string {
  const wider = [`${pattern}.*`, `*.${pattern}`, `*${pattern}*`].find((other) => names.some((name) => matchesPattern(name, other)));
  if (wider !== undefined) return `a pattern must match the whole name: ${quote(wider)} matches ${count(wider, names)}`;
  const near = nearMatches(pattern, names);
  return near.length > 0 ? `near matches: ${near.map(quote).join(", ")}` : `names look like ${quote(names[0] ?? "")}`;
}

function count(pattern: string, names: readonly string[]): string {
  const found = names.filter((name) => matchesPattern(name, pattern)).length;
  return found === 1 ? "1 module" : `${found} modules`;
}

/** Up to three names, or patterns for last names, that are spelt nearly like the pattern without its stars. */
function nearMatches(pattern: string, names: readonly string[]): string[] {
  const word = pattern.replaceAll("*", "").replace(/^\.|\.$/g, "");
  const segments = [...new Set(names.flatMap((name) => name.split(".")))];
  const found: string[] = [];
  for (let left = [...names], i = 0; i < 3; i++) {
    const near = nearestWord(word, left);
    if (near === undefined) break;
    found.push(near);
    left = left.filter((name) => name !== near);
  }
  const segment = found.length > 0 ? undefined : nearestWord(word, segments);
  return segment === undefined ? found : [`*${segment}*`];
}
