/** Reads a picture's recipe from disk. */
import { readFile, stat } from "node:fs/promises";
import { FileError, type Recipe, readRecipe } from "../index.ts";

/** No picture is larger; a wrong path must not fill the memory. */
const MAX_BYTES = 2 ** 30;

/**
 * Returns the recipe inside a PNG file.
 *
 * Errors: FileError when the file is missing, not a PNG, damaged, or has no recipe.
 */
export async function recipeOf(path: string): Promise<Recipe> {
  const recipe = readRecipe(await readPicture(path), path);
  if (recipe !== undefined) return recipe;
  throw new FileError(`the picture "${path}" carries no recipe`, {
    where: path,
    hint: "it was made by another program, edited by one that drops texts, or made with --no-metadata",
  });
}

async function readPicture(path: string): Promise<Uint8Array> {
  try {
    const info = await stat(path);
    if (info.isDirectory()) throw new FileError(`"${path}" is a folder, expected a PNG picture`, { where: path });
    if (info.size > MAX_BYTES)
      throw new FileError(`"${path}" has ${info.size} bytes, expected a picture of at most ${MAX_BYTES}`, { where: path });
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : String(cause);
    const reason =
      code === "ENOENT" || code === "ENOTDIR" ? "does not exist" : code === "EACCES" ? "may not be read" : `cannot be read (${code})`;
    throw new FileError(`picture "${path}" ${reason}`, { where: path, cause });
  }
}
