/**
 * Which layers to keep in float for a target: chosen by prediction, checked by running, chosen again where the prediction was too hopeful.
 *
 * Prediction: errors of single layers are independent, so the squares of those that stay quantized add up, scaled so that the sum over all
 * layers is what was measured with all of them quantized. PSNR is taken to grow by 6 dB for every halving of the error.
 */
import { chooseFloatLayers, type LayerCost, sumOfSquares } from "../../quant/choose-float-layers.ts";
import type { LayersByPart } from "./prediction-error.ts";
import type { LayerSensitivity, Measured, Proposal, QualityTarget, Sensitivity, Variant } from "./report.ts";
import { byPart } from "./sensitivity.ts";

/** Runs that check a choice. */
export interface Trials {
  /** Error of a prediction with these layers quantized. */
  predictionError(layers: LayersByPart): Promise<number>;
  /** Pictures with these layers quantized. */
  pictures(layers: LayersByPart): Promise<Measured>;
  /** Told before each try. */
  onTry(done: number, total: number): void;
}

/** Tries before the nearest choice is reported as not good enough. */
const MOST_TRIES = 5;
/** A limit that was missed is lowered by this much more than it was missed by. */
const CAUTION = 0.9;

/** Finds and checks a proposal. */
export async function propose(target: QualityTarget, variant: Variant, sensitivity: Sensitivity, trials: Trials): Promise<Proposal> {
  const whole = variant.measured.predictionError as number;
  const costs = costsByName(sensitivity.layers);
  const all = sumOfSquares(costs);
  let limit = all * sharesAtTarget(target, variant.measured);
  for (let done = 1; ; done++) {
    trials.onTry(done - 1, MOST_TRIES);
    const layers = chooseFloatLayers(costs, limit);
    const kept = new Set(layers);
    const rest = sensitivity.layers.filter(({ name }) => !kept.has(name));
    const left = sumOfSquares(costs.filter(({ name }) => !kept.has(name)));
    const predictedError = all === 0 ? 0 : whole * Math.sqrt(left / all);
    const quantized = byPart(rest);
    const error = await trials.predictionError(quantized);
    const isLast = done === MOST_TRIES || rest.length === 0;
    // A target of the prediction needs pictures only of the choice that is proposed.
    const passes = target.error === undefined || error <= target.error;
    if (!passes && !isLast) {
      limit = left * CAUTION * ((target.error as number) / error) ** 2;
      continue;
    }
    const measured = { ...(await trials.pictures(quantized)), predictionError: error };
    // With every layer in float any target is met, but nothing is quantized.
    const isReached = rest.length > 0 && passes && reachesPsnr(target, measured);
    if (isReached || isLast) {
      trials.onTry(MOST_TRIES, MOST_TRIES);
      const flags = rest.length === 0 ? "" : flagsOf(variant, layers);
      const costBytes = measured.weightBytes - variant.measured.weightBytes;
      return { target, isReached, layers, flags, costBytes, predictedError, measured };
    }
    limit = left * CAUTION * 10 ** (((measured.similarity.psnr as number) - (target.psnr as number)) / 10);
  }
}

/** The share of the squared error that the target leaves; more than 1 where it is met already. */
function sharesAtTarget({ psnr, error }: QualityTarget, { predictionError, similarity }: Measured): number {
  if (error !== undefined) return predictionError === 0 ? 1 : (error / (predictionError as number)) ** 2;
  return similarity.psnr === null ? 1 : 10 ** ((similarity.psnr - (psnr as number)) / 10);
}

function reachesPsnr({ psnr }: QualityTarget, { similarity }: Measured): boolean {
  return psnr === undefined || similarity.psnr === null || similarity.psnr >= psnr;
}

/** A pattern counts for every part, so layers of one name in several parts stay float together. */
function costsByName(layers: readonly LayerSensitivity[]): LayerCost[] {
  const costs = new Map<string, { square: number; savedBytes: number }>();
  for (const { name, error, savedBytes } of layers) {
    const known = costs.get(name) ?? { square: 0, savedBytes: 0 };
    costs.set(name, { square: known.square + error ** 2, savedBytes: known.savedBytes + savedBytes });
  }
  return Array.from(costs, ([name, { square, savedBytes }]) => ({ name, error: Math.sqrt(square), savedBytes }));
}

function flagsOf({ include, exclude }: Variant, layers: readonly string[]): string {
  const flag = (name: string) => (pattern: string) => `--${name} ${/^[\w.-]+$/.test(pattern) ? pattern : `'${pattern}'`}`;
  return [...include.map(flag("include")), ...[...exclude, ...layers].map(flag("exclude"))].join(" ");
}
