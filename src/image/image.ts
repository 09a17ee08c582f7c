/**
 * A generated picture: pixels, and the recipe that made them. Pixels are 8-bit RGB everywhere; a PNG is made only when one is asked for.
 */
import { checkPixels, type Pixels } from "./pixels.ts";
import { encodePng } from "./png.ts";
import type { Recipe } from "./recipe.ts";

/** One picture. */
export interface GeneratedImage extends Pixels {
  readonly recipe: Recipe;
  /** The picture as a PNG file, with its recipe unless `metadata` is false. */
  toPng(options?: { metadata?: boolean }): Uint8Array;
  /** Writes the PNG; an existing file is replaced only once the new one is whole. */
  save(path: string, options?: { metadata?: boolean }): Promise<void>;
}

/** The picture that pipelines hand out. */
export class RgbImage implements GeneratedImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
  readonly recipe: Recipe;

  /** Errors: UsageError when the pixels are not 3 bytes for each of width x height. */
  constructor(pixels: Pixels, recipe: Recipe) {
    checkPixels(pixels);
    this.width = pixels.width;
    this.height = pixels.height;
    this.data = pixels.data;
    this.recipe = recipe;
  }

  toPng(options: { metadata?: boolean } = {}): Uint8Array {
    return encodePng(this, options.metadata === false ? undefined : this.recipe);
  }

  async save(path: string, options: { metadata?: boolean } = {}): Promise<void> {
    // Loaded here, so that a page can bundle this module.
    const { writeWholeFile } = await import("./save-node.ts");
    await writeWholeFile(path, this.toPng(options));
  }
}
