/**
 * Reads the files of a tokenizer's folder: capped in size, since they come from anyone, and JSON checked against a schema at the border.
 */
import * as v from "valibot";
import type { Folder } from "../checkpoint/byte-source.ts";
import { CheckpointError } from "../errors.ts";

/** The largest file of a tokenizer that is read; the largest in use (Gemma's tokenizer.json) has 33 MB. */
export const LARGEST_FILE_BYTES = 64 * 1024 * 1024;

/** A tokenizer's folder inside a checkpoint, which may be the checkpoint itself (""). */
export interface TokenizerFolder {
  readonly folder: Folder;
  readonly path: string;
}

/** Names a file of a tokenizer for messages. */
export function nameOfFile({ folder, path }: TokenizerFolder, file: string): string {
  return [folder.name, path, file].filter((part) => part !== "").join("/");
}

/**
 * Reads a file whole, or returns undefined if it is not there.
 *
 * Errors: CheckpointError when it is larger than LARGEST_FILE_BYTES.
 */
export async function readBytes(place: TokenizerFolder, file: string): Promise<Uint8Array | undefined> {
  const source = await place.folder.open(place.path === "" ? file : `${place.path}/${file}`);
  if (source === undefined) return undefined;
  try {
    if (source.sizeBytes > LARGEST_FILE_BYTES) {
      throw new CheckpointError(`${file} has ${source.sizeBytes} bytes, expected at most ${LARGEST_FILE_BYTES}`, {
        where: nameOfFile(place, file),
        hint: "this is not a tokenizer's file; get the tokenizer's files again",
      });
    }
    return await source.read(0, source.sizeBytes);
  } finally {
    await source.close();
  }
}

/**
 * Reads a file of text whole, or returns undefined if it is not there.
 *
 * Errors: CheckpointError when the bytes are not UTF-8.
 */
export async function readText(place: TokenizerFolder, file: string): Promise<string | undefined> {
  const bytes = await readBytes(place, file);
  if (bytes === undefined) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CheckpointError(`${file} is not text in UTF-8`, {
      where: nameOfFile(place, file),
      hint: "get the tokenizer's files again",
      cause,
    });
  }
}

/**
 * Reads a JSON file and checks it against a schema, or returns undefined if it is not there.
 *
 * Errors: CheckpointError when the bytes are not UTF-8, the text is not JSON, or a value is not what the schema expects.
 */
export async function readJson<Schema extends v.GenericSchema>(
  place: TokenizerFolder,
  file: string,
  schema: Schema,
): Promise<v.InferOutput<Schema> | undefined> {
  const bytes = await readBytes(place, file);
  if (bytes === undefined) return undefined;
  const where = nameOfFile(place, file);
  const hint = "get the tokenizer's files again";
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new CheckpointError(`${file} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { where, hint, cause });
  }
  return checkValue(value, schema, place, file);
}

/**
 * Checks a value from a JSON file against a schema; `key` is where in the file it stands.
 *
 * Errors: CheckpointError that names the first key whose value is missing or not what the schema expects.
 */
export function checkValue<Schema extends v.GenericSchema>(
  value: unknown,
  schema: Schema,
  place: TokenizerFolder,
  file: string,
  key = "",
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const issue = result.issues[0];
  const path = [key, v.getDotPath(issue)].filter(Boolean).join(".");
  const subject = path === "" ? file : `${file}'s "${path}"`;
  const expected = issue.type === "custom" || issue.type === "check" ? issue.message : issue.expected;
  const problem =
    path !== "" && issue.received === "undefined" ? `${file} lacks "${path}"` : `${subject} must be ${expected}, got ${issue.received}`;
  throw new CheckpointError(problem, { where: nameOfFile(place, file), hint: "get the tokenizer's files again" });
}
