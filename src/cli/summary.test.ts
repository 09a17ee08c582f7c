import { expect, test } from "vitest";
import { RgbImage } from "../image/image.ts";
import type { Recipe, RunReport } from "../index.ts";
import { summaryLine } from "./summary.ts";

test("the summary names what was quantized, with its bytes before and after", () => {
  const recipe = { steps: 2, qtypes: { transformer: "qint8" } } as unknown as Recipe;
  const image = new RgbImage({ width: 1, height: 1, data: new Uint8Array(3) }, recipe);
  const report = {
    seed: 7,
    phases: [{ phase: "denoise", seconds: 3, peakResidentBytes: 1 }],
    peakResidentBytes: 2e9,
  } as unknown as RunReport;
  const frozen = [{ part: "transformer", storedBytes: 1_221_712_192, frozenBytes: 612_349_180 }];
  expect(summaryLine(["a.png"], [image], report, frozen)).toBe(
    "a.png  1x1  seed 7  denoise 3.00 s (2 steps, 1.50 s/step)  transformer qint8 (1.22 GB to 612 MB)  peak 2.00 GB",
  );
});
