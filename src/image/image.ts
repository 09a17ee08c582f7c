/**
 * A generated picture: pixels, and the recipe that made them.
 */
import type { Recipe } from "./recipe.ts";

/** One picture. */
export interface GeneratedImage {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** RGB, row by row from the top left, 3 bytes a pixel. */
  readonly data: Uint8Array;
  readonly recipe: Recipe;
  /** The picture as a PNG file, with its recipe unless `metadata` is false. */
  toPng(options?: { metadata?: boolean }): Uint8Array;
  /** Writes the PNG; an existing file is replaced only once the new one is whole. */
  save(path: string, options?: { metadata?: boolean }): Promise<void>;
}
