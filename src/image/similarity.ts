/**
 * How far two pictures are apart: PSNR, and SSIM with the Gaussian window of 11 x 11 of its first paper.
 *
 * Source: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error visibility to structural similarity",
 * IEEE Transactions on Image Processing 13 (4), 2004. SSIM is taken of red, green and blue and averaged, over the windows that lie inside
 * the picture: scikit-image's structural_similarity with gaussian_weights, sigma 1.5 and use_sample_covariance=False (test/fixtures/similarity.json).
 */
import { UsageError } from "../errors.ts";
import { checkPixels, type Pixels } from "./pixels.ts";

const PEAK = 255;
const CHANNELS = 3;
/** Pixels a side of SSIM's window. */
export const SSIM_WINDOW = 11;
const SIGMA = 1.5;
const C1 = (0.01 * PEAK) ** 2;
const C2 = (0.03 * PEAK) ** 2;

/**
 * Mean squared difference of 8-bit values.
 *
 * Errors: UsageError for pictures of different sizes, as all measures here.
 */
export function meanSquaredError(a: Pixels, b: Pixels): number {
  checkPair(a, b);
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) sum += ((a.data[i] as number) - (b.data[i] as number)) ** 2;
  return sum / a.data.length;
}

/** Peak signal-to-noise ratio in dB of a mean squared error; Infinity for 0. */
export function psnrOf(meanSquared: number): number {
  return 10 * Math.log10(PEAK ** 2 / meanSquared);
}

/**
 * Structural similarity: 1 for equal pictures, less the more they differ.
 *
 * Errors: UsageError for a picture that is smaller than the window.
 */
export function ssim(a: Pixels, b: Pixels): number {
  checkPair(a, b);
  if (Math.min(a.width, a.height) < SSIM_WINDOW) {
    throw new UsageError(`SSIM needs pictures of ${SSIM_WINDOW} x ${SSIM_WINDOW} pixels or more, got ${a.width} x ${a.height}`);
  }
  let sum = 0;
  for (let channel = 0; channel < CHANNELS; channel++) sum += channelSsim(plane(a, channel), plane(b, channel), a.width, a.height);
  return sum / CHANNELS;
}

function checkPair(a: Pixels, b: Pixels): void {
  checkPixels(a);
  checkPixels(b);
  if (a.width === b.width && a.height === b.height) return;
  throw new UsageError(`pictures of ${a.width} x ${a.height} and ${b.width} x ${b.height} pixels cannot be compared`);
}

function plane({ width, height, data }: Pixels, channel: number): Float64Array {
  return Float64Array.from({ length: width * height }, (_, i) => data[CHANNELS * i + channel] as number);
}

function channelSsim(x: Float64Array, y: Float64Array, width: number, height: number): number {
  const blurred = (values: Float64Array) => blurInside(values, width, height);
  const product = (a: Float64Array, b: Float64Array) => a.map((value, i) => value * (b[i] as number));
  const [meanX, meanY] = [blurred(x), blurred(y)];
  const [squareX, squareY, cross] = [blurred(product(x, x)), blurred(product(y, y)), blurred(product(x, y))];
  let sum = 0;
  for (let i = 0; i < meanX.length; i++) {
    const [mx, my] = [meanX[i] as number, meanY[i] as number];
    const varianceX = (squareX[i] as number) - mx * mx;
    const varianceY = (squareY[i] as number) - my * my;
    const covariance = (cross[i] as number) - mx * my;
    sum += ((2 * mx * my + C1) * (2 * covariance + C2)) / ((mx * mx + my * my + C1) * (varianceX + varianceY + C2));
  }
  return sum / meanX.length;
}

/** The Gaussian mean of every window that lies inside: [height, width] -> [height - 10, width - 10]. */
function blurInside(values: Float64Array, width: number, height: number): Float64Array {
  const [columns, rows] = [width - SSIM_WINDOW + 1, height - SSIM_WINDOW + 1];
  const across = new Float64Array(columns * height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < columns; column++) across[row * columns + column] = weighted(values, row * width + column, 1);
  }
  const down = new Float64Array(columns * rows);
  for (let i = 0; i < down.length; i++) down[i] = weighted(across, i, columns);
  return down;
}

const WEIGHTS = gaussian();

function gaussian(): readonly number[] {
  const weights = Array.from({ length: SSIM_WINDOW }, (_, i) => Math.exp(-((i - (SSIM_WINDOW - 1) / 2) ** 2) / (2 * SIGMA ** 2)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

function weighted(values: Float64Array, from: number, stride: number): number {
  let sum = 0;
  for (let i = 0; i < SSIM_WINDOW; i++) sum += (WEIGHTS[i] as number) * (values[from + i * stride] as number);
  return sum;
}
