/**
 * DDIMScheduler: one step goes to the predicted picture and back to a lower noise level; eta adds fresh noise on the way (Song et al. 2020).
 *
 * Source: diffusers scheduling_ddim.py@0.42.1. Differs: `sigmas` are given too, sqrt((1 - alpha) / alpha) of the levels visited; fresh
 * noise is drawn only when eta is above 0, as there, and eta is an option of the request, not of each step.
 */
import type * as v from "valibot";
import { UsageError } from "../errors.ts";
import { alphasCumprod, betaOptions, sigmaOfAlpha } from "./beta-schedule.ts";
import { choice, finite, flag, parseOptions, positive, whole } from "./config.ts";
import { linspace, roundHalfEven } from "./numpy.ts";
import { checkOptions, checkSteps, sampling } from "./sampling.ts";
import type { Sampling, Scheduler, StartOptions } from "./scheduler.ts";
import { leadingTimesteps, TIMESTEP_SPACINGS, trailingTimesteps } from "./spacing.ts";
import { thresholded } from "./threshold.ts";

const CLASS_NAME = "DDIMScheduler";
const f = Math.fround;

const entries = {
  ...betaOptions,
  clip_sample: flag(true),
  set_alpha_to_one: flag(true),
  steps_offset: whole(0, 0, 1000),
  prediction_type: choice(["epsilon", "sample", "v_prediction"], "epsilon"),
  thresholding: flag(false),
  dynamic_thresholding_ratio: finite(0.995),
  clip_sample_range: positive(1),
  sample_max_value: positive(1),
  timestep_spacing: choice(TIMESTEP_SPACINGS, "leading"),
};

type Options = v.InferOutput<v.ObjectSchema<typeof entries, undefined>>;

/** Checks the config of a DDIMScheduler. Errors: UnsupportedError and CheckpointError that name the option. */
export function ddim(config: unknown, where: string | undefined): Scheduler {
  const { options, ignoredOptions } = parseOptions(CLASS_NAME, entries, config, where);
  const alphas = alphasCumprod(CLASS_NAME, options, where);
  const scheduler = { className: CLASS_NAME, config: options, ignoredOptions, numTrainTimesteps: options.num_train_timesteps };
  return {
    ...scheduler,
    start(numInferenceSteps, startOptions = {}) {
      checkSteps(scheduler, numInferenceSteps);
      checkOptions(CLASS_NAME, startOptions, ["eta"]);
      return start(options, alphas, numInferenceSteps, startOptions);
    },
  };
}

function start(options: Options, alphas: Float32Array, numInferenceSteps: number, { eta = 0, images = 1 }: StartOptions): Sampling {
  if (!(eta >= 0 && eta <= 1)) throw new UsageError(`the option eta is ${eta}, expected a number from 0 to 1`);
  const timesteps = spacedTimesteps(options, numInferenceSteps);
  const beyond = timesteps.find((timestep) => timestep >= alphas.length);
  if (beyond !== undefined) {
    const subject = `number of inference steps is ${numInferenceSteps}, with which ${CLASS_NAME} and its steps_offset reach timestep ${beyond}`;
    throw new UsageError(`${subject}, expected at most ${alphas.length - 1}`, { hint: "ask for fewer steps" });
  }
  const stride = Math.floor(options.num_train_timesteps / numInferenceSteps);
  const alphaAt = (timestep: number) => alphas.at(timestep) as number;
  const finalAlpha = options.set_alpha_to_one ? 1 : alphaAt(0);
  const nextAlpha = (timestep: number) => (timestep - stride >= 0 ? alphaAt(timestep - stride) : finalAlpha);

  return sampling(CLASS_NAME, {
    timesteps,
    sigmas: Float32Array.from([...timesteps.map(alphaAt), finalAlpha], sigmaOfAlpha),
    advance(modelOutput, index, sample, noise) {
      const timestep = timesteps[index] as number;
      const next = takeStep(options, alphaAt(timestep), nextAlpha(timestep), eta, modelOutput, sample, images);
      if (eta === 0) return next;
      const deviation = deviationOf(eta, alphaAt(timestep), nextAlpha(timestep));
      const drawn = noise();
      return next.map((value, i) => value + f(deviation * (drawn[i] as number)));
    },
  });
}

function spacedTimesteps({ timestep_spacing, num_train_timesteps: trained, steps_offset }: Options, count: number): number[] {
  switch (timestep_spacing) {
    case "linspace":
      return linspace(0, trained - 1, count)
        .reverse()
        .map(roundHalfEven);
    case "leading":
      return leadingTimesteps(Math.floor(trained / count), count, steps_offset);
    case "trailing":
      return trailingTimesteps(trained, trained, count);
    default:
      return timestep_spacing satisfies never;
  }
}

/** Standard deviation of the fresh noise of a step, formula (16) of the paper. */
function deviationOf(eta: number, alpha: number, nextAlpha: number): number {
  const variance = f(f(f(1 - nextAlpha) / f(1 - alpha)) * f(1 - f(alpha / nextAlpha)));
  return f(f(eta) * f(Math.sqrt(variance)));
}

/** A step without its fresh noise, formula (12) of the paper. */
function takeStep(
  options: Options,
  alpha: number,
  nextAlpha: number,
  eta: number,
  output: Float32Array,
  sample: Float32Array,
  images: number,
): Float32Array {
  const [signal, noise] = [f(Math.sqrt(alpha)), f(Math.sqrt(f(1 - alpha)))];
  const deviation = eta === 0 ? 0 : deviationOf(eta, alpha, nextAlpha);
  const nextSignal = f(Math.sqrt(nextAlpha));
  const direction = f(Math.sqrt(f(f(1 - nextAlpha) - f(deviation * deviation))));

  const pictures = clipped(
    options,
    images,
    {
      epsilon: () => output.map((value, i) => f((sample[i] as number) - f(noise * value)) / signal),
      sample: () => output,
      v_prediction: () => output.map((value, i) => f(signal * (sample[i] as number)) - f(noise * value)),
    }[options.prediction_type](),
  );
  const epsilons = {
    epsilon: () => output,
    sample: () => output.map((value, i) => f((sample[i] as number) - f(signal * value)) / noise),
    v_prediction: () => output.map((value, i) => f(signal * value) + f(noise * (sample[i] as number))),
  }[options.prediction_type]();
  return pictures.map((picture, i) => f(nextSignal * picture) + f(direction * (epsilons[i] as number)));
}

function clipped(options: Options, images: number, pictures: Float32Array): Float32Array {
  if (options.thresholding)
    return thresholded(pictures, images, { ratio: options.dynamic_thresholding_ratio, maximum: options.sample_max_value });
  if (!options.clip_sample) return pictures;
  const limit = f(options.clip_sample_range);
  return pictures.map((value) => Math.min(Math.max(value, -limit), limit));
}
