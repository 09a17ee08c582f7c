/** Makes a picture smaller by a whole factor: each pixel is the mean of a square of the old ones. */
import { checkPixels, type Pixels } from "./pixels.ts";

/** Shrinks by `factor`; what is left over at the right and at the bottom is cut off. Errors: UsageError for pixels that fit no picture. */
export function shrinkBy(picture: Pixels, factor: number): Pixels {
  checkPixels(picture);
  if (factor <= 1) return picture;
  const width = Math.max(1, Math.floor(picture.width / factor));
  const height = Math.max(1, Math.floor(picture.height / factor));
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) {
    const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / (3 * width))];
    data[i] = Math.round(meanOf(picture, x * factor, y * factor, factor, i % 3));
  }
  return { width, height, data };
}

function meanOf({ width, height, data }: Pixels, left: number, top: number, side: number, channel: number): number {
  let [sum, count] = [0, 0];
  for (let y = top; y < Math.min(top + side, height); y++) {
    for (let x = left; x < Math.min(left + side, width); x++, count++) sum += data[3 * (y * width + x) + channel] as number;
  }
  return sum / count;
}
