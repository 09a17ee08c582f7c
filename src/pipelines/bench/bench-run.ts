/**
 * One run of a benchmark: the object that `halftone generate --json` prints, as much of it as counts, and that a peer's program prints too.
 * It comes from another process, so it is checked field by field; fields that nothing here needs are ignored.
 */
import * as v from "valibot";
import { EngineError } from "../../errors.ts";

const amount = v.pipe(v.number(), v.finite(), v.minValue(0));
const memory = v.optional(v.nullable(amount));
const text = v.pipe(v.string(), v.maxLength(1000));
/** A program that runs wild must not fill the report. */
const MOST_STEPS = 100_000;

const RunSchema = v.object({
  /** Of opening the model, and of quantizing it. */
  loadSeconds: amount,
  quantizeSeconds: amount,
  /** "encode", "denoise" and "decode", in bytes and seconds. */
  phases: v.pipe(
    v.array(v.object({ phase: text, seconds: amount, peakResidentBytes: memory, peakAnonymousBytes: memory })),
    v.minLength(1),
    v.maxLength(100),
  ),
  stepSeconds: v.pipe(v.array(amount), v.maxLength(MOST_STEPS)),
  /** Bytes of each part's weights on the disk, or in memory where there is no such file. */
  weightBytes: v.record(text, amount),
  peakResidentBytes: memory,
  peakAnonymousBytes: memory,
  /** From the start of the process to its end. */
  commandSeconds: v.optional(amount),
  /** What was asked for, defaults filled in; halftone's alone. */
  recipe: v.optional(
    v.object({
      model: v.string(),
      modelHash: text,
      pipeline: text,
      scheduler: text,
      prompt: v.string(),
      seed: text,
      steps: amount,
      guidanceScale: v.pipe(v.number(), v.finite()),
      height: amount,
      width: amount,
    }),
  ),
  /** A peer's name ("diffusers") and what it consists of. */
  name: v.optional(text),
  versions: v.optional(v.record(text, text)),
});

/** What one run took. */
export type BenchRun = Readonly<v.InferOutput<typeof RunSchema>>;

/** What all runs of a benchmark are asked for. */
export type BenchRecipe = NonNullable<BenchRun["recipe"]>;

/**
 * Reads what a run has printed: one object, or anything and then a line with one.
 *
 * Errors: EngineError naming the field that is missing or wrong.
 */
export function parseBenchRun(output: string, who: string): BenchRun {
  const value = jsonOf(output) ?? jsonOf(output.trimEnd().split("\n").at(-1) ?? "");
  if (value === undefined) throw new EngineError(`${who} printed ${shown(output)}, expected one JSON object`);
  const result = v.safeParse(RunSchema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  if (issue.received === "undefined") throw new EngineError(`${who} printed JSON without "${path}"`);
  const field = path === null ? "of another form" : `with a wrong "${path}"`;
  throw new EngineError(`${who} printed JSON ${field}: expected ${issue.expected ?? issue.message}, got ${issue.received}`);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function shown(output: string): string {
  const trimmed = output.trim();
  if (trimmed === "") return "nothing";
  return JSON.stringify(trimmed.length > 80 ? `${trimmed.slice(0, 80)}…` : trimmed);
}
