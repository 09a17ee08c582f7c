/**
 * The arithmetic of DPM-Solver: a step is a weighted sum of the sample, the newest prediction, its first and second divided differences
 * over earlier predictions, and fresh noise. The weights depend on the noise levels alone.
 *
 * With x0 the picture and e the noise in it, a sample is alpha x0 + sigma e, and lambda = log(alpha / sigma); h is the step in lambda.
 * Source: diffusers scheduling_dpmsolver_multistep.py@0.42.1, every operation rounded to float32; differs: signs are kept in the weights.
 */

const f = Math.fround;
const exp = (value: number) => f(Math.exp(value));

/** The four solvers; "++" ones work on predictions of the picture, the others on predictions of the noise, "sde" ones add fresh noise. */
export type Algorithm = "dpmsolver" | "dpmsolver++" | "sde-dpmsolver" | "sde-dpmsolver++";

/** How the first difference is weighted in second-order steps. */
export type SolverType = "midpoint" | "heun";

/** A noise level in the terms of the paper. */
export interface Level {
  readonly alpha: number;
  readonly sigma: number;
  readonly lambda: number;
}

/** Weights of a step's terms; zero for terms that it has not. */
interface Weights {
  sample: number;
  prediction: number;
  difference: number;
  secondDifference: number;
  noise: number;
}

/** How far apart the predictions were made, for divided differences of non-uniform steps. */
interface Spans {
  inverse0: number;
  inverse1: number;
  inverseSum: number;
  share0: number;
}

/** All the numbers of one step. */
export interface StepPlan {
  readonly order: 1 | 2 | 3;
  readonly weights: Weights;
  readonly spans: Spans;
}

/** Turns a sigma of the schedule into a level; flow matching mixes linearly, the others keep the variance. */
export function levelOf(scheduleSigma: number, flow: boolean): Level {
  const alpha = flow ? f(1 - scheduleSigma) : f(1 / f(Math.sqrt(f(f(scheduleSigma * scheduleSigma) + 1))));
  const sigma = flow ? scheduleSigma : f(scheduleSigma * alpha);
  return { alpha, sigma, lambda: f(f(Math.log(alpha)) - f(Math.log(sigma))) };
}

/**
 * Plans a step: `path` is the level to reach, then those of the newest predictions, one per order, newest first.
 *
 * A plan that divides by zero, because two levels are the same, has numbers that are not finite (see `isFinitePlan`).
 */
export function planStep(algorithm: Algorithm, solverType: SolverType, path: readonly [Level, Level, ...Level[]]): StepPlan {
  const order = (path.length - 1) as 1 | 2 | 3;
  const [h, h0, h1] = path.slice(1).map((level, i) => f((path[i] as Level).lambda - level.lambda)) as [number, number?, number?];
  // Third-order steps weight the first difference as "heun" does.
  const weights = algorithmWeights(algorithm, order === 2 && solverType === "midpoint", path[1], path[0], h);
  if (order < 2) weights.difference = 0;
  if (order < 3) weights.secondDifference = 0;
  const spans = { inverse0: 0, inverse1: 0, inverseSum: 0, share0: 0 };
  if (h0 !== undefined) {
    const r0 = f(h0 / h);
    spans.inverse0 = f(1 / r0);
    if (h1 !== undefined) {
      const r1 = f(h1 / h);
      spans.inverse1 = f(1 / r1);
      spans.inverseSum = f(1 / f(r0 + r1));
      spans.share0 = f(r0 / f(r0 + r1));
    }
  }
  return { order, weights, spans };
}

/** Whether a step can be taken. */
export function isFinitePlan({ weights, spans }: StepPlan): boolean {
  return [...Object.values(weights), ...Object.values(spans)].every(Number.isFinite);
}

function algorithmWeights(algorithm: Algorithm, midpoint: boolean, from: Level, to: Level, h: number): Weights {
  switch (algorithm) {
    case "dpmsolver++": {
      const decay = f(exp(-h) - 1);
      return {
        sample: f(to.sigma / from.sigma),
        prediction: -f(to.alpha * decay),
        difference: midpoint ? -f(0.5 * f(to.alpha * decay)) : f(to.alpha * f(f(decay / h) + 1)),
        secondDifference: -f(to.alpha * f(f(f(decay + h) / f(h * h)) - 0.5)),
        noise: 0,
      };
    }
    case "dpmsolver": {
      const growth = f(exp(h) - 1);
      return {
        sample: f(to.alpha / from.alpha),
        prediction: -f(to.sigma * growth),
        difference: midpoint ? -f(0.5 * f(to.sigma * growth)) : -f(to.sigma * f(f(growth / h) - 1)),
        secondDifference: -f(to.sigma * f(f(f(growth - h) / f(h * h)) - 0.5)),
        noise: 0,
      };
    }
    case "sde-dpmsolver++": {
      const gone = f(1 - exp(f(-2 * h)));
      const doubled = f(2 * h);
      return {
        sample: f(f(to.sigma / from.sigma) * exp(-h)),
        prediction: f(to.alpha * gone),
        difference: midpoint ? f(0.5 * f(to.alpha * gone)) : f(to.alpha * f(f(gone / -doubled) + 1)),
        secondDifference: f(to.alpha * f(f(f(gone - doubled) / f(doubled * doubled)) - 0.5)),
        noise: f(to.sigma * f(Math.sqrt(gone))),
      };
    }
    case "sde-dpmsolver": {
      const growth = f(exp(h) - 1);
      return {
        sample: f(to.alpha / from.alpha),
        prediction: -f(2 * f(to.sigma * growth)),
        difference: midpoint ? -f(to.sigma * growth) : -f(2 * f(to.sigma * f(f(growth / h) - 1))),
        secondDifference: 0,
        noise: f(to.sigma * f(Math.sqrt(f(exp(f(2 * h)) - 1)))),
      };
    }
    default:
      return algorithm satisfies never;
  }
}

/** Takes a step: the sum of its weighted terms. `predictions` are the newest first, at least as many as the order. */
export function takeStep(
  { order, weights, spans }: StepPlan,
  sample: Float32Array,
  predictions: readonly Float32Array[],
  noise: Float32Array | undefined,
): Float32Array {
  const [m0, m1, m2] = predictions as [Float32Array, Float32Array, Float32Array];
  const result = new Float32Array(sample.length);
  for (let i = 0; i < result.length; i++) {
    const newest = m0[i] as number;
    let sum = f(f(weights.sample * (sample[i] as number)) + f(weights.prediction * newest));
    if (order > 1) {
      let difference = f(spans.inverse0 * f(newest - (m1[i] as number)));
      let bend = 0;
      if (order > 2) {
        bend = f(difference - f(spans.inverse1 * f((m1[i] as number) - (m2[i] as number))));
        difference = f(difference + f(spans.share0 * bend));
      }
      sum = f(sum + f(weights.difference * difference));
      if (order > 2) sum = f(sum + f(weights.secondDifference * f(spans.inverseSum * bend)));
    }
    result[i] = noise === undefined ? sum : sum + f(weights.noise * (noise[i] as number));
  }
  return result;
}
