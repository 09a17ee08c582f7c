/**
 * The sizes that PixArt models were trained on: one for each aspect ratio. Binning generates at the nearest of them and resizes the picture.
 *
 * Source: diffusers pipelines/pixart_alpha@0.42.1, ASPECT_RATIO_*_BIN. The tables for 256 and 512 are the one for 1024 divided by 4 and 2.
 */
import { UsageError } from "../errors.ts";

/** Rounded height / width, and the size in pixels as height x width. */
const BINS_1024 =
  "0.25:512x2048 0.28:512x1856 0.32:576x1792 0.33:576x1728 0.35:576x1664 0.4:640x1600 0.42:640x1536 0.48:704x1472 0.5:704x1408 " +
  "0.52:704x1344 0.57:768x1344 0.6:768x1280 0.68:832x1216 0.72:832x1152 0.78:896x1152 0.82:896x1088 0.88:960x1088 0.94:960x1024 " +
  "1.0:1024x1024 1.07:1024x960 1.13:1088x960 1.21:1088x896 1.29:1152x896 1.38:1152x832 1.46:1216x832 1.67:1280x768 1.75:1344x768 " +
  "2.0:1408x704 2.09:1472x704 2.4:1536x640 2.5:1600x640 3.0:1728x576 4.0:2048x512";

const BINS_2048 =
  "0.25:1024x4096 0.26:1024x3968 0.27:1024x3840 0.28:1024x3712 0.32:1152x3584 0.33:1152x3456 0.35:1152x3328 0.4:1280x3200 0.42:1280x3072 " +
  "0.48:1408x2944 0.5:1408x2816 0.52:1408x2688 0.57:1536x2688 0.6:1536x2560 0.68:1664x2432 0.72:1664x2304 0.78:1792x2304 0.82:1792x2176 " +
  "0.88:1920x2176 0.94:1920x2048 1.0:2048x2048 1.07:2048x1920 1.13:2176x1920 1.21:2176x1792 1.29:2304x1792 1.38:2304x1664 1.46:2432x1664 " +
  "1.67:2560x1536 1.75:2688x1536 2.0:2816x1408 2.09:2944x1408 2.4:3072x1280 2.5:3200x1280 2.89:3328x1152 3.0:3456x1152 3.11:3584x1152 " +
  "3.62:3712x1024 3.75:3840x1024 3.88:3968x1024 4.0:4096x1024";

/** By the transformer's sample_size: the table, and what its sizes are divided by. */
const TABLES: Readonly<Record<number, { bins: string; divisor: number }>> = {
  256: { bins: BINS_2048, divisor: 1 },
  128: { bins: BINS_1024, divisor: 1 },
  64: { bins: BINS_1024, divisor: 2 },
  32: { bins: BINS_1024, divisor: 4 },
};

/** A size in pixels. */
export interface PictureSize {
  readonly height: number;
  readonly width: number;
}

/**
 * The trained size whose aspect ratio is nearest; `known` are the sample sizes that the pipeline has a table for.
 *
 * Errors: UsageError when there is no table for the model's sample_size.
 */
export function nearestTrainedSize(sampleSize: number, known: readonly number[], size: PictureSize): PictureSize {
  const table = known.includes(sampleSize) ? TABLES[sampleSize] : undefined;
  if (table === undefined) {
    throw new UsageError(`resolution binning knows sizes for a sample_size of ${known.join(", ")}, but this model has ${sampleSize}`, {
      hint: "leave useResolutionBinning off",
    });
  }
  const wanted = size.height / size.width;
  let best: { distance: number; height: number; width: number } | undefined;
  for (const entry of table.bins.split(" ")) {
    const [ratio = 0, height = 0, width = 0] = entry.split(/[:x]/).map(Number);
    const distance = Math.abs(ratio - wanted);
    if (best === undefined || distance < best.distance) best = { distance, height, width };
  }
  return { height: (best?.height ?? 0) / table.divisor, width: (best?.width ?? 0) / table.divisor };
}
