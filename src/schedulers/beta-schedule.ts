/**
 * The noise that a model was trained with: betas, and from them alphasCumprod, the share of the picture left at each training timestep.
 *
 * Source: diffusers scheduling_dpmsolver_multistep.py@0.42.1 (the same in DDIM and Euler); float32 throughout, products summed up in double.
 */
import * as v from "valibot";
import { CheckpointError } from "../errors.ts";
import { choice, finite, flag, trainTimesteps } from "./config.ts";
import { linspaceFloat32 } from "./numpy.ts";

const f = Math.fround;

const MAX_BETA = 0.999;

/** Options with which a config describes the betas. */
export const betaOptions = {
  num_train_timesteps: trainTimesteps(),
  beta_start: finite(0.0001),
  beta_end: finite(0.02),
  beta_schedule: choice(["linear", "scaled_linear", "squaredcos_cap_v2"], "linear"),
  trained_betas: v.optional(v.nullable(v.array(v.number("a number"), "an array of numbers or null")), null),
  rescale_betas_zero_snr: flag(false),
};

type BetaOptions = v.InferOutput<v.ObjectSchema<typeof betaOptions, undefined>>;

/**
 * Computes alphasCumprod for every training timestep.
 *
 * Errors: CheckpointError when there is not one trained beta per timestep, or a beta lies outside 0 to 1.
 */
export function alphasCumprod(className: string, options: BetaOptions, where: string | undefined): Float32Array {
  const betas = betasOf(options);
  if (betas.length !== options.num_train_timesteps) {
    const got = `${className}'s option trained_betas has ${betas.length} values`;
    throw new CheckpointError(`${got}, expected num_train_timesteps, ${options.num_train_timesteps}`, { where });
  }
  const outside = betas.findIndex((beta) => !(beta > 0 && beta < 1));
  if (outside >= 0) {
    throw new CheckpointError(`${className}'s beta of timestep ${outside} is ${betas[outside]}, expected a number between 0 and 1`, {
      where,
    });
  }
  const alphas = (options.rescale_betas_zero_snr ? withZeroTerminalSnr(betas) : betas).map((beta) => 1 - beta);
  return cumulativeProduct(alphas);
}

/** Noise level of a share of the picture: sqrt((1 - alpha) / alpha), in float32. */
export function sigmaOfAlpha(alphaCumprod: number): number {
  return f(Math.sqrt(f(f(1 - alphaCumprod) / alphaCumprod)));
}

/** Puts a hair of picture into the last timestep of a rescaled schedule, so that its noise level is not infinite (DPM-Solver and Euler). */
export function withFiniteLastSigma(alphas: Float32Array, options: BetaOptions): Float32Array {
  return options.rescale_betas_zero_snr ? alphas.with(-1, 2 ** -24) : alphas;
}

function betasOf(options: BetaOptions): Float32Array {
  const { trained_betas, beta_start, beta_end, num_train_timesteps } = options;
  if (trained_betas !== null) return Float32Array.from(trained_betas);
  switch (options.beta_schedule) {
    case "linear":
      return linspaceFloat32(beta_start, beta_end, num_train_timesteps);
    case "scaled_linear":
      return linspaceFloat32(beta_start ** 0.5, beta_end ** 0.5, num_train_timesteps).map((root) => root * root);
    case "squaredcos_cap_v2": {
      const left = (t: number) => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
      const beta = (i: number) => 1 - left((i + 1) / num_train_timesteps) / left(i / num_train_timesteps);
      return Float32Array.from({ length: num_train_timesteps }, (_, i) => Math.min(beta(i), MAX_BETA));
    }
    default:
      return options.beta_schedule satisfies never;
  }
}

/** Shifts and stretches the square roots of alphasCumprod so that the last is 0 and the first stays. */
function withZeroTerminalSnr(betas: Float32Array): Float32Array {
  const roots = cumulativeProduct(betas.map((beta) => 1 - beta)).map(Math.sqrt);
  const first = roots[0] as number;
  const last = roots.at(-1) as number;
  const stretch = f(first / f(first - last));
  const shares = roots.map((root) => f(f(root - last) * stretch)).map((root) => root * root);
  return shares.map((share, i) => 1 - (i === 0 ? share : f(share / (shares[i - 1] as number))));
}

function cumulativeProduct(values: Float32Array): Float32Array {
  let product = 1;
  return values.map((value) => {
    product *= value;
    return product;
  });
}
