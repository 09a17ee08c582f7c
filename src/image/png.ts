/**
 * Pictures to PNG and back; the recipe lies beside the pixels in a text chunk "halftone", as JSON.
 *
 * Text chunks hold Latin-1 alone, so the JSON is escaped to ASCII: a prompt in any language survives every tool that keeps text chunks.
 * "Description" and "Software" are the standard's own words, for viewers; nothing is read from them.
 */
import { decode, encode } from "fast-png";
import { FileError, UnsupportedError } from "../errors.ts";
import type { Pixels } from "./pixels.ts";
import { parseRecipe, RECIPE_KEYWORD, type Recipe, recipeText } from "./recipe.ts";
import { checkPng, readTextChunk } from "./text-chunk.ts";

/** Writes a picture as a PNG file, with its recipe if there is one. */
export function encodePng(pixels: Pixels, recipe?: Recipe): Uint8Array {
  const { width, height, data } = pixels;
  const text = recipe === undefined ? {} : textChunks(recipe);
  return encode({ width, height, data, channels: 3, depth: 8, text });
}

/**
 * Reads the pixels of a PNG file as halftone writes it.
 *
 * Memory: what the file's header says, so this is for files of our own making.
 * Errors: FileError when the file is damaged; UnsupportedError when it is not 8-bit RGB.
 */
export function decodePng(png: Uint8Array, where?: string): Pixels {
  checkPng(png, where);
  const decoded = decodeWith(png, where);
  if (decoded.depth !== 8 || decoded.channels !== 3 || decoded.palette !== undefined || !(decoded.data instanceof Uint8Array)) {
    throw new UnsupportedError(`the picture has ${decoded.channels} channels of ${decoded.depth} bits, expected 8-bit RGB`, { where });
  }
  return { width: decoded.width, height: decoded.height, data: decoded.data };
}

/**
 * Reads the recipe out of a PNG file, or undefined if there is none; pixels are not unpacked.
 *
 * Errors: FileError when the file is not a whole PNG or its recipe makes no sense.
 */
export function readRecipe(png: Uint8Array, where?: string): Recipe | undefined {
  const text = readTextChunk(png, RECIPE_KEYWORD, where);
  return text === undefined ? undefined : parseRecipe(text, where);
}

function textChunks(recipe: Recipe): Record<string, string> {
  const isPrintable = recipe.prompt !== "" && /^[\n\x20-\x7e\xa1-\xff]*$/.test(recipe.prompt);
  return {
    [RECIPE_KEYWORD]: recipeText(recipe),
    ...(isPrintable ? { Description: recipe.prompt } : {}),
    Software: `halftone ${recipe.version}`,
  };
}

function decodeWith(png: Uint8Array, where: string | undefined) {
  try {
    return decode(png, { checkCrc: true });
  } catch (cause) {
    throw new FileError("the PNG file is damaged: its pixels cannot be read", { where, cause });
  }
}
