/** Which files a request writes, and whether it may: found out before the work, not after. */
import { stat } from "node:fs/promises";
import { checkWritableFile, UsageError } from "../index.ts";

/** Puts -1, -2, … before the extension when a request makes several pictures: ("a.png", 0, 2) is "a-1.png". */
export function numberedPath(path: string, index: number, count: number): string {
  return count === 1 ? path : path.replace(/(\.[^./\\]*)?$/, (extension) => `-${index + 1}${extension}`);
}

/** Name of a picture that was not given one. */
export function defaultPath(seed: number | bigint | string): string {
  return `halftone-${seed}.png`;
}

/**
 * Checks that all files of a request can be written; the seed may not be known yet.
 *
 * Errors: FileError as saving would give, the full disk aside; UsageError for a name that says another kind of file.
 */
export async function checkOutputs(output: string, count: number, latents: string | undefined): Promise<void> {
  await checkName("--output", output, ".png");
  for (let index = 0; index < count; index++) await checkWritableFile(numberedPath(output, index, count));
  if (latents === undefined) return;
  await checkName("--save-latents", latents, ".safetensors");
  await checkWritableFile(latents);
}

/** A folder is told from a file with a wrong ending first: it is the likelier mistake. */
async function checkName(flag: string, path: string, ending: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() || /[/\\]$/.test(path)) await checkWritableFile(path);
  if (path.toLowerCase().endsWith(ending)) return;
  throw new UsageError(`${flag} expects a file name that ends in ${ending}, got ${JSON.stringify(path)}`);
}
