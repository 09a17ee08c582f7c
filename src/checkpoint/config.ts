/**
 * Checks a config at the border: after parseConfig its type is known, and a value that is wrong has been named in one sentence.
 */
import * as v from "valibot";
import { CheckpointError, UnsupportedError } from "../errors.ts";

/**
 * Checks a value against a schema and returns it as the schema's output type.
 *
 * `subject` opens the sentence ("transformer config"), `where` is the file. In a schema, a message of its own is taken as what was expected:
 * `v.check(isEven, "an even number")`.
 *
 * Errors: CheckpointError for the first value that does not fit; UnsupportedError when it is a word or number other than those listed.
 */
export function parseConfig<const S extends v.GenericSchema>(schema: S, value: unknown, subject: string, where: string): v.InferOutput<S> {
  // To JavaScript, and so to valibot, a list is an object too.
  if (Array.isArray(value) && (schema.type === "object" || schema.type === "record"))
    throw new CheckpointError(`${subject} is a list, expected an object`, { where });
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const keys = (issue.path ?? []).map((item) => item.key as string | number);
  const expected = expectation(issue, schemaAt(schema, keys));
  if (keys.length === 0) throw new CheckpointError(`${subject} is ${valueText(issue.input)}, expected ${expected}`, { where });
  const path = pathText(keys);
  if (issue.input === undefined) throw new CheckpointError(`${subject} has no ${path}, expected ${expected}`, { where });
  if (issue.type === "strict_object") throw new CheckpointError(`${subject} has the unknown entry ${path}`, { where });
  // A check across entries is made of the whole object, and about the entry at the end of the path.
  const message = `${subject} has ${path} = ${valueText(issue.path?.at(-1)?.value)}${typeText(issue)}, expected ${expected}`;
  const isListed = issue.type === "picklist" || issue.type === "literal";
  throw isListed ? new UnsupportedError(message, { where }) : new CheckpointError(message, { where });
}

const EXPECTED_TYPES: Record<string, string> = {
  number: "a number",
  string: "a string",
  boolean: "true or false",
  array: "a list",
  Array: "a list",
  tuple: "a list",
  object: "an object",
  Object: "an object",
  record: "an object",
};

const EXPECTED_VALUES: Record<string, string> = {
  min_value: "at least",
  max_value: "at most",
  gt_value: "more than",
  lt_value: "less than",
};

function expectation(issue: v.BaseIssue<unknown>, schema: Node | undefined): string {
  const bound = EXPECTED_VALUES[issue.type];
  if (!issue.message.startsWith("Invalid ")) return issue.message;
  if (bound !== undefined) return `${bound} ${valueText(issue.requirement)}`;
  if (issue.type === "integer") return "an integer";
  if (issue.type === "finite") return "a finite number";
  if (issue.type === "picklist") return (issue.expected ?? "").replace(/^\(|\)$/g, "").replaceAll(" | ", " or ");
  const isMissing = issue.input === undefined && schema !== undefined;
  const type = isMissing ? (schema.type ?? "") : (issue.expected ?? "");
  if (type === "number" && schema?.pipe?.some((step) => step.type === "integer")) return "an integer";
  return EXPECTED_TYPES[type] ?? (isMissing ? (schema.expects ?? type) : type);
}

/** As much of a schema as an explanation needs; valibot's schemas are plain objects. */
interface Node {
  readonly type?: string;
  readonly expects?: string;
  readonly entries?: Readonly<Record<string, Node>>;
  readonly wrapped?: Node;
  readonly item?: Node;
  readonly items?: readonly Node[];
  readonly value?: Node;
  readonly pipe?: readonly Node[];
}

/** Finds the schema of a nested value, so that a message can say "an integer" where the first complaint is only about the type. */
function schemaAt(schema: v.GenericSchema, keys: readonly (string | number)[]): Node | undefined {
  let node: Node | undefined = unwrap(schema as Node);
  for (const key of keys) node = unwrap(node?.entries?.[key] ?? node?.items?.[Number(key)] ?? node?.item ?? node?.value);
  return node;
}

function unwrap(node: Node | undefined): Node | undefined {
  return node?.wrapped === undefined ? node : unwrap(node.wrapped);
}

function pathText(keys: readonly (string | number)[]): string {
  return keys.map((key, i) => (typeof key === "number" ? `[${key}]` : i === 0 ? key : `.${key}`)).join("");
}

function typeText(issue: v.BaseIssue<unknown>): string {
  const isWrongType = issue.kind === "schema" && EXPECTED_TYPES[issue.type] !== undefined;
  const isPlain = typeof issue.input !== "object" && !Number.isNaN(issue.input);
  return isWrongType && isPlain ? ` (${typeof issue.input})` : "";
}

function valueText(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "an object";
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
