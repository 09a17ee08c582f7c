/**
 * JSON files of a checkpoint: read with a limit on their size, with faults named by line and column.
 *
 * Python's json module writes NaN, Infinity and -Infinity (scheduler configs have them), so these three words are understood; nothing else
 * beyond the standard is, but for a byte-order mark.
 */
import JSON5 from "json5";
import { CheckpointError } from "../errors.ts";
import type { ByteSource, Folder } from "./byte-source.ts";
import { JsonCursor, JsonFault } from "./json-cursor.ts";

/** Tokenizers of large vocabularies take up to 40 MB; anything else is far below. */
const MAX_JSON_BYTES = 64 * 2 ** 20;

/** Limits of reading, and the way to stop it. */
export interface ReadJsonOptions {
  readonly maxBytes?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads and parses a file of a folder.
 *
 * Errors: CheckpointError when the file is missing, too large, not UTF-8 or not JSON.
 */
export async function readJson(folder: Folder, path: string, options: ReadJsonOptions = {}): Promise<unknown> {
  const source = await folder.open(path);
  if (source === undefined) {
    throw new CheckpointError(`"${path}" is missing`, {
      where: folder.name,
      hint: "a model folder has diffusers' layout, with model_index.json",
    });
  }
  return readJsonAndClose(source, options);
}

/** Reads and parses a file of a folder, or returns undefined if it is not there; errors as readJson. */
export async function readJsonIfPresent(folder: Folder, path: string, options: ReadJsonOptions = {}): Promise<unknown> {
  const source = await folder.open(path);
  return source && readJsonAndClose(source, options);
}

/** Reads and parses a file that is open already, and closes it; errors as readJson. */
export async function readJsonAndClose(source: ByteSource, { maxBytes = MAX_JSON_BYTES, signal }: ReadJsonOptions = {}): Promise<unknown> {
  try {
    if (source.sizeBytes > maxBytes) {
      throw new CheckpointError(`the file has ${source.sizeBytes} bytes, expected JSON of at most ${maxBytes}`, { where: source.name });
    }
    return parseJson(await source.read(0, source.sizeBytes, signal), source.name);
  } finally {
    await source.close();
  }
}

/**
 * Parses the bytes of a JSON file; `where` is its name.
 *
 * Errors: CheckpointError when they are not UTF-8 or not JSON.
 */
export function parseJson(bytes: Uint8Array, where: string): unknown {
  const text = decodeText(bytes, where);
  try {
    return JSON.parse(text);
  } catch (cause) {
    checkSyntax(text, where, cause);
    // Sound but for Python's numbers.
    return JSON5.parse(text);
  }
}

function decodeText(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CheckpointError("the file is not UTF-8 text, expected JSON", { where, cause });
  }
}

function checkSyntax(text: string, where: string, cause: unknown): void {
  try {
    const cursor = new JsonCursor(text, { pythonNumbers: true });
    cursor.skip();
    cursor.end();
  } catch (fault) {
    if (!(fault instanceof JsonFault)) throw fault;
    const before = text.slice(0, fault.position).split("\n");
    const column = (before.at(-1)?.length ?? 0) + 1;
    throw new CheckpointError(`the file is not JSON at line ${before.length}, column ${column}: ${fault.message}`, { where, cause });
  }
}
