/**
 * Bare pixels, 8-bit RGB: what tensors become, PNG files hold and grids are joined of.
 */
import { UsageError } from "../errors.ts";

/** A picture without a history. */
export interface Pixels {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** RGB, row by row from the top left, 3 bytes a pixel. */
  readonly data: Uint8Array;
}

/** Throws UsageError unless pixels are 3 bytes for each of width x height. */
export function checkPixels(pixels: Pixels): void {
  const { width, height, data } = pixels;
  const isSize = Number.isSafeInteger(width) && Number.isSafeInteger(height) && width > 0 && height > 0;
  if (!isSize || data.length !== width * height * 3) {
    throw new UsageError(`a picture of ${width} x ${height} RGB pixels was given ${data.length} bytes, expected ${width * height * 3}`);
  }
}
