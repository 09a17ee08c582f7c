/** Prompts of a comparison: from a file, a prompt a line, or for the embedded model a few that it knows. */
import { readFile, stat } from "node:fs/promises";
import { FileError, UsageError } from "../index.ts";

/** What the embedded model was trained to draw: shapes of many kinds, on grounds of several colours. */
export const DEMO_PROMPTS: readonly string[] = [
  "a red apple on a blue background",
  "a fox on a yellow background",
  "a sailboat on a pink background",
  "a guitar on a teal background",
];

const MAX_BYTES = 2 ** 20;
const NOT_READ: Readonly<Record<string, string>> = {
  ENOENT: "does not exist",
  ENOTDIR: "does not exist",
  EACCES: "may not be read",
  ERR_ENCODING_INVALID_ENCODED_DATA: "is not UTF-8 text",
};

/**
 * Reads the prompts of a file; empty lines and lines that begin with # say nothing.
 *
 * Errors: FileError for a file that cannot be read or is not text; UsageError when it holds no prompt.
 */
export async function readPrompts(path: string): Promise<string[]> {
  const prompts = (await readText(path))
    .split(/\r\n|[\n\r]/)
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (prompts.length > 0) return prompts;
  throw new UsageError(`"${path}" holds no prompt, expected one a line`, { where: path });
}

async function readText(path: string): Promise<string> {
  try {
    const info = await stat(path);
    if (info.isDirectory()) throw new FileError(`"${path}" is a folder, expected a file of prompts`, { where: path });
    if (info.size > MAX_BYTES) {
      throw new FileError(`"${path}" has ${info.size} bytes, expected a file of prompts of at most ${MAX_BYTES}`, { where: path });
    }
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    const reason = NOT_READ[code] ?? `cannot be read (${code})`;
    throw new FileError(`the file of prompts "${path}" ${reason}`, { where: path, cause });
  }
}
