/** Proposals on a model of three layers whose errors are known. */
import { describe, expect, test } from "vitest";
import type { LayersByPart } from "./prediction-error.ts";
import { propose } from "./propose.ts";
import type { Measured, QualityTarget, Sensitivity, Variant } from "./report.ts";

const ERRORS: Record<string, number> = { a: 0.03, b: 0.04, c: 0.01 };
const BYTES: Record<string, number> = { a: 100, b: 1000, c: 100 };
const sensitivity: Sensitivity = {
  measure: "prediction",
  calls: [],
  layers: Object.keys(ERRORS).map((name) => ({
    part: "transformer",
    name,
    qtype: "qint4",
    error: ERRORS[name] as number,
    savedBytes: BYTES[name] as number,
  })),
};

/** `worse`: how many times as large the errors of what stays quantized really are. PSNR is 20 dB at an error of 0.1. */
async function proposal(target: QualityTarget, worse = 1, exclude: string[] = [], include: string[] = []) {
  const tried: string[][] = [];
  const names = (layers: LayersByPart) => [...(layers.get("transformer") ?? [])];
  const error = (quantized: readonly string[]) => Math.sqrt(quantized.reduce((sum, name) => sum + (ERRORS[name] as number) ** 2, 0));
  const measured = (quantized: readonly string[], factor: number): Measured => {
    const psnr = quantized.length === 0 ? null : 20 - 20 * Math.log10((factor * error(quantized)) / 0.1);
    const weightBytes = 5000 - quantized.reduce((sum, name) => sum + (BYTES[name] as number), 0);
    return {
      weightBytes,
      partBytes: {},
      secondsPerStep: 0,
      similarity: { psnr, ssim: 1 },
      pictures: [],
      latentErrors: [],
      predictionError: factor * error(quantized),
    };
  };
  const variant: Variant = {
    label: "qint4",
    spec: "qint4",
    fast: false,
    include,
    exclude,
    measured: measured(["a", "b", "c"], 1),
    sensitivity: null,
    proposal: null,
  };
  const found = await propose(target, variant, sensitivity, {
    async predictionError(layers) {
      tried.push(names(layers));
      return worse * error(names(layers));
    },
    pictures: async (layers) => measured(names(layers), worse),
    onTry() {},
  });
  return { ...found, tried };
}

describe("layers to keep float", () => {
  test("are the cheapest for the target, with what they cost and what was foreseen", async () => {
    const { layers, flags, costBytes, predictedError, measured, isReached, tried } = await proposal({ error: 0.042 });
    expect({ layers, flags, costBytes, isReached }).toEqual({ layers: ["a"], flags: "--exclude a", costBytes: 100, isReached: true });
    expect(predictedError).toBeCloseTo(Math.hypot(0.04, 0.01), 12);
    expect(measured.predictionError).toBeCloseTo(predictedError, 12);
    expect(tried).toEqual([["b", "c"]]);
  });

  test("are none, where the target is met already", async () => {
    expect(await proposal({ error: 0.06 })).toMatchObject({ layers: [], flags: "", costBytes: 0, isReached: true });
    expect(await proposal({ psnr: 20 })).toMatchObject({ layers: [], isReached: true });
  });

  test("become more, where the run is worse than foreseen", async () => {
    const { tried, isReached, layers } = await proposal({ error: 0.042 }, 1.5);
    expect(tried[0]).toEqual(["b", "c"]);
    expect({ isReached, layers }).toEqual({ isReached: true, layers: ["a", "b"] });
  });

  test("reach a PSNR", async () => {
    const { measured, layers, isReached } = await proposal({ psnr: 30 });
    expect({ layers, isReached }).toEqual({ layers: ["b"], isReached: true });
    expect(measured.similarity.psnr).toBeGreaterThanOrEqual(30);
  });

  test("are all, where nothing less will do, which is no proposal", async () => {
    expect(await proposal({ psnr: 150 })).toMatchObject({
      layers: ["a", "b", "c"],
      isReached: false,
      flags: "",
      measured: { similarity: { psnr: null } },
    });
  });

  test("stand beside what the caller excludes", async () => {
    expect((await proposal({ error: 0.042 }, 1, ["*.emb*"])).flags).toBe("--exclude '*.emb*' --exclude a");
    expect((await proposal({ error: 0.042 }, 1, [], ["?", "proj"])).flags).toBe("--include '?' --include proj --exclude a");
  });
});
