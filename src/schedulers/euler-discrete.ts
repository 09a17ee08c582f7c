/**
 * EulerDiscreteScheduler: the sample follows the slope towards the predicted picture, scaled so that sigma is the noise in it
 * (Karras et al. 2022, algorithm 2 without churn). The model is shown the sample divided by sqrt(sigma^2 + 1).
 *
 * Source: diffusers scheduling_euler_discrete.py@0.42.1. Differs: no churn (diffusers' default is 0), betas by scipy not supported, always
 * begins at the first noise level.
 */
import type * as v from "valibot";
import { UnsupportedError } from "../errors.ts";
import { alphasCumprod, betaOptions, sigmaOfAlpha, withFiniteLastSigma } from "./beta-schedule.ts";
import { choice, flag, maybeFinite, parseOptions, unsupportedFlag, whole } from "./config.ts";
import { interpolate, linspace, linspaceFloat32 } from "./numpy.ts";
import { checkOptions, checkSteps, sampling } from "./sampling.ts";
import type { Sampling, Scheduler } from "./scheduler.ts";
import {
  exponentialSigmas,
  karrasSigmas,
  leadingTimesteps,
  logarithms,
  sigmaToTimestep,
  TIMESTEP_SPACINGS,
  trailingTimesteps,
} from "./spacing.ts";

const CLASS_NAME = "EulerDiscreteScheduler";
const f = Math.fround;

const entries = {
  ...betaOptions,
  prediction_type: choice(["epsilon", "sample", "original_sample", "v_prediction"], "epsilon"),
  interpolation_type: choice(["linear", "log_linear"], "linear"),
  use_karras_sigmas: flag(false),
  use_exponential_sigmas: flag(false),
  use_beta_sigmas: unsupportedFlag(),
  sigma_min: maybeFinite(),
  sigma_max: maybeFinite(),
  timestep_spacing: choice(TIMESTEP_SPACINGS, "linspace"),
  timestep_type: choice(["discrete", "continuous"], "discrete"),
  steps_offset: whole(0, 0, 1000),
  final_sigmas_type: choice(["zero", "sigma_min"], "zero"),
};

type Options = v.InferOutput<v.ObjectSchema<typeof entries, undefined>>;

/** Checks the config of an EulerDiscreteScheduler. Errors: UnsupportedError and CheckpointError that name the option. */
export function eulerDiscrete(config: unknown, where: string | undefined): Scheduler {
  const { options, ignoredOptions } = parseOptions(CLASS_NAME, entries, config, where);
  if (options.use_karras_sigmas && options.use_exponential_sigmas) {
    throw new UnsupportedError(`${CLASS_NAME}'s option use_exponential_sigmas is true, expected false beside use_karras_sigmas`, { where });
  }
  const alphas = withFiniteLastSigma(alphasCumprod(CLASS_NAME, options, where), options);
  const scheduler = { className: CLASS_NAME, config: options, ignoredOptions, numTrainTimesteps: options.num_train_timesteps };
  return {
    ...scheduler,
    start(numInferenceSteps, startOptions = {}) {
      checkSteps(scheduler, numInferenceSteps);
      checkOptions(CLASS_NAME, startOptions, []);
      return start(options, alphas.map(sigmaOfAlpha), numInferenceSteps);
    },
  };
}

function start(options: Options, trainSigmas: Float32Array, count: number): Sampling {
  const { timesteps, sigmas } = schedule(options, trainSigmas, count);
  const largest = sigmas.reduce((most, sigma) => Math.max(most, sigma));
  const inputScale = (sigma: number) => f(Math.sqrt(f(f(sigma * sigma) + 1)));
  return sampling(CLASS_NAME, {
    timesteps,
    sigmas,
    initNoiseSigma: options.timestep_spacing === "leading" ? inputScale(largest) : largest,
    scale(sample, index) {
      const divisor = inputScale(sigmas[index] as number);
      return sample.map((value) => value / divisor);
    },
    advance(modelOutput, index, sample) {
      const sigma = sigmas[index] as number;
      const change = f((sigmas[index + 1] as number) - sigma);
      const picture = pictureOf(options, modelOutput, sample, sigma);
      return sample.map((value, i) => value + f(f(f(value - (picture[i] as number)) / sigma) * change));
    },
  });
}

function schedule(options: Options, trainSigmas: Float32Array, count: number): { timesteps: number[]; sigmas: Float32Array } {
  const logSigmas = logarithms(trainSigmas);
  const sigmaLast = options.final_sigmas_type === "zero" ? 0 : (trainSigmas[0] as number);
  let timesteps = spacedTimesteps(options, count).map(f);
  let sigmas =
    options.interpolation_type === "linear"
      ? timesteps.map((timestep) => interpolate(timestep, trainSigmas))
      : Array.from(linspaceFloat32(logSigmas.at(-1) as number, logSigmas[0] as number, count + 1), (value) => f(Math.exp(value)));

  if (options.use_karras_sigmas || options.use_exponential_sigmas) {
    const spaced = options.use_karras_sigmas ? karrasSigmas : exponentialSigmas;
    sigmas = spaced(options.sigma_min ?? (sigmas.at(-1) as number), options.sigma_max ?? (sigmas[0] as number), count);
    timesteps = sigmas.map((sigma) => f(sigmaToTimestep(sigma, logSigmas)));
  }
  const levels = Float32Array.from([...sigmas, sigmaLast]);
  if (options.timestep_type === "continuous" && options.prediction_type === "v_prediction") {
    timesteps = Array.from(levels.subarray(0, -1), (sigma) => f(0.25 * f(Math.log(sigma))));
  }
  return { timesteps, sigmas: levels };
}

function spacedTimesteps({ timestep_spacing, num_train_timesteps: trained, steps_offset }: Options, count: number): number[] {
  switch (timestep_spacing) {
    case "linspace":
      return linspace(0, trained - 1, count).reverse();
    case "leading":
      return leadingTimesteps(Math.floor(trained / count), count, steps_offset);
    case "trailing":
      return trailingTimesteps(trained, trained, count);
    default:
      return timestep_spacing satisfies never;
  }
}

function pictureOf({ prediction_type }: Options, output: Float32Array, sample: Float32Array, sigma: number): Float32Array {
  switch (prediction_type) {
    case "epsilon":
      return output.map((value, i) => (sample[i] as number) - f(sigma * value));
    case "sample":
    case "original_sample":
      return output;
    case "v_prediction": {
      const variance = f(f(sigma * sigma) + 1);
      const outputScale = f(-sigma / f(Math.sqrt(variance)));
      return output.map((value, i) => f(value * outputScale) + f((sample[i] as number) / variance));
    }
    default:
      return prediction_type satisfies never;
  }
}
