/**
 * Which noise levels a DPM-Solver request visits: timesteps by spacing, or sigmas by Karras, Lu, exponential or flow spacing and the timesteps
 * that go with them.
 *
 * Source: diffusers scheduling_dpmsolver_multistep.py@0.42.1 `set_timesteps`; float64 as in NumPy, sigmas float32 in the end.
 */
import { UnsupportedError } from "../errors.ts";
import { alphasCumprod, sigmaOfAlpha, withFiniteLastSigma } from "./beta-schedule.ts";
import type { DpmSolverOptions } from "./dpm-solver-options.ts";
import { interpolate, linspace, roundHalfEven } from "./numpy.ts";
import { exponentialSigmas, karrasSigmas, leadingTimesteps, logarithms, luSigmas, sigmaToTimestep, trailingTimesteps } from "./spacing.ts";

const f = Math.fround;

/** The noise levels of training. */
export interface TrainedNoise {
  readonly sigmas: Float32Array;
  /** How many timesteps, from the first, have a lambda of lambda_min_clipped or more. */
  readonly usable: number;
}

/** Works out the noise levels of training. Errors: CheckpointError for betas that are wrong, UnsupportedError when all are clipped. */
export function trainedNoise(className: string, options: DpmSolverOptions, where: string | undefined): TrainedNoise {
  const alphas = withFiniteLastSigma(alphasCumprod(className, options, where), options);
  const log = (value: number) => f(Math.log(value));
  const lambdas = alphas.map((alpha) => log(f(Math.sqrt(alpha))) - log(f(Math.sqrt(f(1 - alpha)))));
  const usable = lambdas.findLastIndex((lambda) => lambda >= f(options.lambda_min_clipped)) + 1;
  if (usable === 0) {
    const subject = `${className}'s option lambda_min_clipped is ${options.lambda_min_clipped}`;
    throw new UnsupportedError(`${subject}, expected a number that leaves timesteps to visit`, { where });
  }
  return { sigmas: alphas.map(sigmaOfAlpha), usable };
}

/** Plans the timesteps of a request and their noise levels, the final one included. */
export function planSchedule(
  options: DpmSolverOptions,
  { sigmas: trainSigmas, usable }: TrainedNoise,
  count: number,
  flowShift: number,
): { timesteps: number[]; sigmas: Float32Array } {
  const { num_train_timesteps: trained, beta_schedule, use_karras_sigmas, use_lu_lambdas, use_exponential_sigmas } = options;
  const sigmaLast = options.final_sigmas_type === "zero" ? 0 : (trainSigmas[0] as number);
  let timesteps = spacedTimesteps(options, usable, count);
  let sigmas: number[];

  if (use_karras_sigmas || use_lu_lambdas || use_exponential_sigmas) {
    const logSigmas = logarithms(trainSigmas);
    const smallest = options.sigma_min ?? (trainSigmas[0] as number);
    const largest = options.sigma_max ?? (trainSigmas.at(-1) as number);
    if (use_karras_sigmas) sigmas = karrasSigmas(smallest, largest, count);
    else if (use_lu_lambdas) sigmas = luSigmas(logSigmas, count);
    else sigmas = exponentialSigmas(smallest, largest, count);
    const isRounded = (use_karras_sigmas || use_lu_lambdas) && beta_schedule !== "squaredcos_cap_v2";
    timesteps = sigmas.map((sigma) => sigmaToTimestep(sigma, logSigmas)).map(isRounded ? roundHalfEven : Math.trunc);
  } else if (options.use_flow_sigmas) {
    const unshifted = linspace(1, 1 / trained, count + 1).map((alpha) => 1 - alpha);
    sigmas = unshifted.map((sigma) => (flowShift * sigma) / (1 + (flowShift - 1) * sigma)).reverse();
    sigmas.pop();
    timesteps = sigmas.map((sigma) => Math.trunc(sigma * trained));
  } else {
    sigmas = timesteps.map((timestep) => interpolate(timestep, trainSigmas));
  }
  return { timesteps, sigmas: Float32Array.from([...sigmas, sigmaLast]) };
}

function spacedTimesteps(options: DpmSolverOptions, usable: number, count: number): number[] {
  const { num_train_timesteps: trained, timestep_spacing, steps_offset } = options;
  switch (timestep_spacing) {
    case "linspace":
      return linspace(0, usable - 1, count + 1)
        .slice(1)
        .reverse()
        .map(roundHalfEven);
    case "leading":
      return leadingTimesteps(Math.floor(usable / (count + 1)), count + 1, steps_offset).slice(0, -1);
    case "trailing":
      return trailingTimesteps(usable, trained, count);
    default:
      return timestep_spacing satisfies never;
  }
}
