/**
 * What the command line's --qtype says: a bare qtype for the transformer and every text encoder, or pairs `part=qtype` and
 * `part:module=qtype` with patterns on both sides, "transformer=qint8,text_encoder*=qfloat8,transformer:*attn*=qint4". For each module the
 * most specific pair wins: one with a module pattern before one without, an exact name before a pattern, more letters before fewer, and of
 * equals the last.
 */
import { quote } from "../checkpoint/stored-tensor.ts";
import { nearestWord, UsageError } from "../errors.ts";
import { matchesPattern } from "./fnmatch.ts";
import { findQType, type QType } from "./qtype.ts";

/** One pair, or a bare qtype, for which both patterns are undefined. */
export interface SpecPair {
  readonly part: string | undefined;
  readonly module: string | undefined;
  readonly qtype: QType;
}

/** A --qtype that has been read. */
export type QuantizationSpec = readonly SpecPair[];

/** A part of a model, as much as a spec has to know. */
export interface SpecPart {
  readonly name: string;
  /** Why the part is never quantized, where it is not. */
  readonly neverQuantized?: string | undefined;
}

const EXAMPLE = 'examples: "qint8", "transformer=qint8,text_encoder=qfloat8", "transformer:*attn*=qint4"';

/**
 * Reads a --qtype.
 *
 * Errors: UsageError for what is not a list of pairs, and for an unknown qtype.
 */
export function parseSpec(text: string): QuantizationSpec {
  const items = splitOutsideBrackets(text).map((item) => item.trim());
  if (items.some((item) => item === "")) {
    const got = text.trim() === "" ? "an empty text" : quote(text);
    throw new UsageError(`qtype must be a qtype or pairs part=qtype, got ${got}`, { hint: EXAMPLE });
  }
  const pairs = items.map(parsePair);
  const bare = pairs.findIndex(({ part }) => part === undefined);
  if (bare >= 0 && pairs.filter(({ part }) => part === undefined).length > 1) {
    throw new UsageError(`qtype must have one bare qtype at most, got ${quote(text)}`, { hint: "say which part is meant: part=qtype" });
  }
  return pairs;
}

function parsePair(item: string): SpecPair {
  const at = item.lastIndexOf("=");
  if (at < 0) return { part: undefined, module: undefined, qtype: findQType(item) };
  const left = item.slice(0, at).trim();
  const qtype = findQType(item.slice(at + 1).trim());
  const colon = left.indexOf(":");
  const part = (colon < 0 ? left : left.slice(0, colon)).trim();
  const module = colon < 0 ? undefined : left.slice(colon + 1).trim();
  if (part === "" || module === "") {
    const missing = part === "" ? "part" : "module pattern";
    throw new UsageError(`qtype has the pair ${quote(item)} without a ${missing}, expected part=qtype or part:pattern=qtype`, {
      hint: EXAMPLE,
    });
  }
  return { part, module, qtype };
}

/** Splits at commas, but not inside a pattern's [a,b]. */
function splitOutsideBrackets(text: string): string[] {
  return text.split(/,(?![^[\]]*\])/);
}

/**
 * Names of the parts that a spec quantizes, in the model's order.
 *
 * Errors: UsageError for a pair whose part is not there, or is never quantized.
 */
export function quantizedParts(spec: QuantizationSpec, parts: readonly SpecPart[]): string[] {
  const quantizable = parts.filter(({ neverQuantized }) => neverQuantized === undefined).map(({ name }) => name);
  for (const { part } of spec) {
    if (part === undefined || quantizable.some((name) => matchesPattern(name, part))) continue;
    const refused = parts.find(({ name }) => matchesPattern(name, part));
    if (refused?.neverQuantized !== undefined) throw new UsageError(`${refused.name} cannot be quantized: ${refused.neverQuantized}`);
    const near = nearestWord(part, quantizable);
    throw new UsageError(`the model has no part ${quote(part)} to quantize, expected one of ${quantizable.join(", ")}`, {
      hint: near === undefined ? undefined : `did you mean ${near}?`,
    });
  }
  return quantizable.filter((name) => spec.some(({ part }) => part === undefined || matchesPattern(name, part)));
}

/**
 * The qtype of every module of a part that the spec quantizes.
 *
 * Errors: UsageError for a module pattern that matches none of the modules.
 */
export function qtypesByModule(spec: QuantizationSpec, part: string, modules: readonly string[]): Map<string, QType> {
  const own = spec.filter((pair) => pair.part === undefined || matchesPattern(part, pair.part));
  for (const { module } of own) {
    if (module !== undefined && !modules.some((name) => matchesPattern(name, module))) throw noSuchModule(module, part, modules);
  }
  const qtypes = new Map<string, QType>();
  for (const name of modules) {
    const best = own
      .filter(({ module }) => module === undefined || matchesPattern(name, module))
      .reduce<SpecPair | undefined>((found, pair) => (found !== undefined && isMoreSpecific(found, pair) ? found : pair), undefined);
    if (best !== undefined) qtypes.set(name, best.qtype);
  }
  return qtypes;
}

function noSuchModule(pattern: string, part: string, modules: readonly string[]): UsageError {
  const near = nearestWord(pattern, modules) ?? modules.find((name) => name.includes(pattern.replace(/[*?]/g, "")));
  return new UsageError(`pattern ${quote(pattern)} matches no layer of ${part} that can be quantized`, {
    hint: near === undefined ? `its layers have names such as ${quote(modules[0] ?? "")}` : `the nearest layer is ${quote(near)}`,
  });
}

function isMoreSpecific(a: SpecPair, b: SpecPair): boolean {
  for (const [left, right] of [
    [a.module, b.module],
    [a.part, b.part],
  ]) {
    const difference = specificity(left) - specificity(right);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

/** None, then patterns by their letters, then exact names. */
function specificity(pattern: string | undefined): number {
  if (pattern === undefined) return -1;
  const letters = pattern.replace(/\[[^\]]*\]|[*?]/g, "").length;
  return letters === pattern.length ? 1e9 + letters : letters;
}
