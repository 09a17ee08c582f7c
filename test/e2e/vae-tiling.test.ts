/** Decoding in strips, through the public API, on the embedded checkpoint: the same picture as whole. */
import { DiffusionPipeline, demoModelFolder, type VaeTilingOptions } from "halftone";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { difference } from "../support/compare.ts";

const request = { seed: 3, numInferenceSteps: 6, numImagesPerPrompt: 2 };
/** Of a strip: values of 8 bits that differ by one in one place of a thousand still give 78 dB. */
const LEAST_DECIBELS = 60;

describe("enableVaeTiling", () => {
  let pipeline: DiffusionPipeline;
  let whole: readonly Uint8Array[];
  beforeAll(async () => {
    pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder, { threads: 1 });
    whole = await pictures();
  });
  afterAll(() => pipeline.dispose());

  async function pictures(): Promise<readonly Uint8Array[]> {
    return (await pipeline.generate("a red apple", request)).images.map(({ data }) => data);
  }

  it.each<VaeTilingOptions>([{}, { rows: 48, maps: "file" }])("makes the same pictures: %o", async (options) => {
    pipeline.enableVaeTiling(options);
    const strips = await pictures();
    pipeline.disableVaeTiling();
    expect(strips).toHaveLength(whole.length);
    for (const [i, picture] of whole.entries()) {
      const got = strips[i] as Uint8Array;
      expect(difference(got, picture).maxAbs).toBeLessThanOrEqual(1);
      expect(decibels(got, picture)).toBeGreaterThanOrEqual(LEAST_DECIBELS);
    }
  });

  it("tells of every strip, and of whole pictures again once it is disabled", async () => {
    const totals = async () => {
      for await (const event of pipeline.stream("a fox", { ...request, numImagesPerPrompt: 1 })) {
        if (event.type === "segment" && event.phase === "decode") return event.total;
      }
      return 0;
    };
    const before = await totals();
    pipeline.enableVaeTiling({ rows: 8 });
    pipeline.enableVaeSlicing();
    expect(await totals()).toBeGreaterThan(50);
    pipeline.disableVaeTiling();
    pipeline.disableVaeSlicing();
    expect(await totals()).toBe(before);
  });

  it.each([0, 1, 7, 2.5, Number.NaN])("refuses strips of %d rows", (rows) => {
    expect(() => pipeline.enableVaeTiling({ rows })).toThrow(`rows must be an even number from 2 on, got ${rows}`);
  });

  it("refuses another place for maps", () => {
    expect(() => pipeline.enableVaeTiling({ maps: "disk" as "file" })).toThrow('maps must be "memory" or "file", got "disk"');
  });
});

/** Peak signal-to-noise ratio of 8-bit values. */
function decibels(got: Uint8Array, want: Uint8Array): number {
  let squares = 0;
  for (let i = 0; i < want.length; i++) squares += ((got[i] as number) - (want[i] as number)) ** 2;
  return squares === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10((255 * 255 * want.length) / squares);
}
