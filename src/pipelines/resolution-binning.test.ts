import { describe, expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { nearestTrainedSize } from "./resolution-binning.ts";

const ALPHA = [32, 64, 128];
const SIGMA = [...ALPHA, 256];

describe("nearestTrainedSize", () => {
  it.each([
    [32, { height: 100, width: 100 }, { height: 256, width: 256 }],
    [64, { height: 600, width: 400 }, { height: 608, width: 416 }],
    [128, { height: 90, width: 160 }, { height: 768, width: 1344 }],
    [256, { height: 3000, width: 1000 }, { height: 3456, width: 1152 }],
    [256, { height: 100, width: 900 }, { height: 1024, width: 4096 }],
  ])("takes the nearest shape of sample size %i", (sampleSize, size, nearest) => {
    expect(nearestTrainedSize(sampleSize, SIGMA, size)).toEqual(nearest);
  });

  it("refuses a sample size that the pipeline has no table for", async () => {
    expect(await caught(() => nearestTrainedSize(256, ALPHA, { height: 64, width: 64 }))).toEqual({
      kind: "UsageError",
      message: "resolution binning knows sizes for a sample_size of 32, 64, 128, but this model has 256",
      hint: "leave useResolutionBinning off",
    });
  });
});
