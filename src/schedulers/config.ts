/**
 * Scheduler configs come from a checkpoint's file: checked here, at the border, and refused by the name of the option.
 *
 * Known keys must have a value that halftone carries out. Unknown keys are let pass and listed, since diffusers ignores them too (configs
 * converted from another class keep its keys). `null` for a flag means false, as it does in Python.
 */
import * as v from "valibot";
import { CheckpointError, UnsupportedError } from "../errors.ts";

const MAX_TRAIN_TIMESTEPS = 100_000;

// Schemas that pass fewer values than diffusers does.
const UNSUPPORTED_KINDS = ["picklist", "literal", "null"];

// Each schema's message is what was expected; `parseOptions` puts the option and its value before it.

/** A flag, false when it is null. */
export function flag(fallback: boolean) {
  return v.optional(
    v.pipe(
      v.nullable(v.boolean("true or false")),
      v.transform((value) => value ?? false),
    ),
    fallback,
  );
}

/** A finite number. */
export function finite(fallback: number) {
  return v.optional(v.pipe(v.number("a finite number"), v.finite("a finite number")), fallback);
}

/** A finite number above 0. */
export function positive(fallback: number) {
  const expected = "a finite number above 0";
  return v.optional(v.pipe(v.number(expected), v.finite(expected), v.gtValue(0, expected)), fallback);
}

/** A finite number or null, which is the default. */
export function maybeFinite() {
  const expected = "a finite number or null";
  return v.optional(v.nullable(v.pipe(v.number(expected), v.finite(expected)), null), null);
}

/** A whole number within limits. */
export function whole(fallback: number, least: number, most: number) {
  const expected = `a whole number from ${least} to ${most}`;
  return v.optional(v.pipe(v.number(expected), v.integer(expected), v.minValue(least, expected), v.maxValue(most, expected)), fallback);
}

/** One of the words (or numbers) that halftone carries out. */
export function choice<const Values extends readonly (string | number)[]>(values: Values, fallback: Values[number]) {
  const expected = values.length === 1 ? JSON.stringify(values[0]) : `one of ${values.map((value) => JSON.stringify(value)).join(", ")}`;
  return v.optional(v.picklist(values, expected), fallback as never);
}

/** A flag that diffusers has and halftone has not: only false passes. */
export function unsupportedFlag() {
  return v.optional(
    v.pipe(
      v.nullable(v.literal(false, "false")),
      v.transform(() => false),
    ),
    false,
  );
}

/** The number of timesteps that the model was trained on. */
export function trainTimesteps() {
  return whole(1000, 2, MAX_TRAIN_TIMESTEPS);
}

/** Options checked, and the keys that have no effect. */
export interface ParsedOptions<Options> {
  options: Options;
  ignoredOptions: string[];
}

/**
 * Checks a config against the schema of its class.
 *
 * Errors: UnsupportedError for a word that halftone does not carry out, CheckpointError for any other wrong value; both name option and value.
 */
export function parseOptions<Entries extends v.ObjectEntries>(
  className: string,
  entries: Entries,
  config: unknown,
  where: string | undefined,
): ParsedOptions<v.InferOutput<v.ObjectSchema<Entries, undefined>>> {
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw new CheckpointError(`the config of ${className} is ${shown(config)}, expected an object`, { where });
  }
  const result = v.safeParse(v.object(entries), config);
  if (!result.success) {
    const issue = result.issues[0];
    const ErrorClass = UNSUPPORTED_KINDS.includes(issue.type) ? UnsupportedError : CheckpointError;
    const [key, ...inner] = (issue.path ?? []).map((item) => String(item.key));
    const option = inner.length === 0 ? key : `${key}[${inner.join("][")}]`;
    throw new ErrorClass(`${className}'s option ${option} is ${shown(issue.input)}, expected ${issue.message}`, { where });
  }
  const ignoredOptions = Object.keys(config).filter((key) => !(key in entries) && !key.startsWith("_"));
  return { options: result.output, ignoredOptions };
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object" && value !== null) return "an object";
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
