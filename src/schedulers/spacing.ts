/**
 * Which noise levels to visit: spacings over timesteps, over sigmas, and the way back from a sigma to a timestep.
 *
 * Source: diffusers scheduling_dpmsolver_multistep.py and scheduling_euler_discrete.py@0.42.1, float64 as in NumPy.
 */
import { arange, linspace, logFloat32, roundHalfEven } from "./numpy.ts";

const RHO = 7;

/** The words of the config option timestep_spacing. */
export const TIMESTEP_SPACINGS = ["linspace", "leading", "trailing"] as const;

/**
 * Training timesteps of "trailing": whole strides counted down from the last one.
 *
 * For some counts (61 and 103 are the first, of 1000) rounding yields one timestep too many, -1, as in diffusers.
 */
export function trailingTimesteps(last: number, numTrainTimesteps: number, count: number): number[] {
  return arange(last, 0, -(numTrainTimesteps / count)).map((timestep) => roundHalfEven(timestep) - 1);
}

/** Training timesteps of "leading": multiples of a whole stride, largest first. */
export function leadingTimesteps(stride: number, count: number, offset: number): number[] {
  return Array.from({ length: count }, (_, i) => (count - 1 - i) * stride + offset);
}

/** Sigmas spaced evenly in their seventh root, from the largest down (Karras et al. 2022). */
export function karrasSigmas(smallest: number, largest: number, count: number): number[] {
  const [low, high] = [smallest ** (1 / RHO), largest ** (1 / RHO)];
  return linspace(0, 1, count).map((ramp) => (high + ramp * (low - high)) ** RHO);
}

/** Sigmas spaced evenly in their logarithm, from the largest down. */
export function exponentialSigmas(smallest: number, largest: number, count: number): number[] {
  return linspace(Math.log(largest), Math.log(smallest), count).map(Math.exp);
}

/** Sigmas spaced evenly in the log of the signal-to-noise ratio, given the logs of the training sigmas (Lu et al. 2022). */
export function luSigmas(logSigmas: Float32Array, count: number): number[] {
  const [low, high] = [logSigmas[0] as number, logSigmas.at(-1) as number];
  return linspace(0, 1, count).map((ramp) => Math.exp(high + ramp * (low - high)));
}

/** Natural logarithms of the training sigmas, as NumPy rounds them. */
export function logarithms(sigmas: Float32Array): Float32Array {
  return sigmas.map(logFloat32);
}

/** The training timestep, between whole ones, at which the noise level was sigma. */
export function sigmaToTimestep(sigma: number, logSigmas: Float32Array): number {
  const wanted = Math.log(Math.max(sigma, 1e-10));
  const found = logSigmas.findLastIndex((logSigma) => wanted >= logSigma);
  const index = Math.min(Math.max(found, 0), logSigmas.length - 2);
  const [low, high] = [logSigmas[index] as number, logSigmas[index + 1] as number];
  const share = Math.min(Math.max((low - wanted) / Math.fround(low - high), 0), 1);
  return (1 - share) * index + share * (index + 1);
}
