/**
 * FlowMatchEulerDiscreteScheduler: the model predicts the velocity from picture to noise, and the sample follows it in straight steps.
 * A sample is (1 - sigma) picture + sigma noise; shifting pushes the noise levels up, more so for large pictures. SD3's and AuraFlow's.
 *
 * Source: diffusers scheduling_flow_match_euler_discrete.py@0.42.1, schedule in float64 (in float32 for a request's own sigmas, as in
 * NumPy). Differs: no timesteps per token; betas by scipy not supported; always begins at the first noise level.
 */
import * as v from "valibot";
import { UnsupportedError, UsageError } from "../errors.ts";
import { choice, flag, maybeFinite, parseOptions, positive, trainTimesteps, unsupportedFlag, whole } from "./config.ts";
import { linspace } from "./numpy.ts";
import { checkOptions, checkSteps, sampling } from "./sampling.ts";
import type { Sampling, Scheduler, StartOptions } from "./scheduler.ts";
import { exponentialSigmas, karrasSigmas } from "./spacing.ts";

const CLASS_NAME = "FlowMatchEulerDiscreteScheduler";
const f = Math.fround;

const MAX_SEQUENCE = 2 ** 24;

const entries = {
  num_train_timesteps: trainTimesteps(),
  shift: positive(1),
  use_dynamic_shifting: flag(false),
  // What pipelines compute mu from; the scheduler itself does not use them.
  base_shift: v.optional(maybeFinite(), 0.5),
  max_shift: v.optional(maybeFinite(), 1.15),
  base_image_seq_len: whole(256, 1, MAX_SEQUENCE),
  max_image_seq_len: whole(4096, 1, MAX_SEQUENCE),
  invert_sigmas: flag(false),
  shift_terminal: maybeFinite(),
  use_karras_sigmas: flag(false),
  use_exponential_sigmas: flag(false),
  use_beta_sigmas: unsupportedFlag(),
  time_shift_type: choice(["exponential", "linear"], "exponential"),
  stochastic_sampling: flag(false),
  // Not the class's own, but diffusers' Karras and exponential spacings obey them when a config has them.
  sigma_min: maybeFinite(),
  sigma_max: maybeFinite(),
};

type Options = v.InferOutput<v.ObjectSchema<typeof entries, undefined>>;

/** Checks the config of a FlowMatchEulerDiscreteScheduler. Errors: UnsupportedError and CheckpointError that name the option. */
export function flowMatchEuler(config: unknown, where: string | undefined): Scheduler {
  const { options, ignoredOptions } = parseOptions(CLASS_NAME, entries, config, where);
  if (options.use_karras_sigmas && options.use_exponential_sigmas) {
    throw new UnsupportedError(`${CLASS_NAME}'s option use_exponential_sigmas is true, expected false beside use_karras_sigmas`, { where });
  }
  const scheduler = { className: CLASS_NAME, config: options, ignoredOptions, numTrainTimesteps: options.num_train_timesteps };
  return {
    ...scheduler,
    start(numInferenceSteps, startOptions = {}) {
      checkSteps(scheduler, numInferenceSteps);
      checkOptions(CLASS_NAME, startOptions, ["mu", "sigmas"]);
      checkShifting(options, numInferenceSteps, startOptions);
      return start(options, numInferenceSteps, startOptions);
    },
  };
}

function checkShifting(options: Options, numInferenceSteps: number, { mu, sigmas }: StartOptions): void {
  if (options.use_dynamic_shifting && mu === undefined) {
    throw new UsageError(`${CLASS_NAME} with use_dynamic_shifting needs the option mu, expected a number, got none`);
  }
  if (mu !== undefined && !Number.isFinite(mu)) throw new UsageError(`the option mu is ${mu}, expected a finite number`);
  if (sigmas === undefined) return;
  if (sigmas.length !== numInferenceSteps) {
    throw new UsageError(`the option sigmas has ${sigmas.length} values, expected one for each of ${numInferenceSteps} steps`);
  }
  const wrong = sigmas.find((sigma) => !(sigma > 0 && sigma <= 1));
  if (wrong !== undefined) throw new UsageError(`the option sigmas has the value ${wrong}, expected numbers above 0 and at most 1`);
}

function start(options: Options, count: number, startOptions: StartOptions): Sampling {
  const { timesteps, sigmas } = schedule(options, count, startOptions);
  if (!sigmas.every(Number.isFinite)) {
    const subject = `number of inference steps is ${count}, with which ${CLASS_NAME}'s noise levels are not finite`;
    throw new UsageError(`${subject}, expected enough steps to reach shift_terminal (${options.shift_terminal})`, {
      hint: "ask for more steps",
    });
  }
  return sampling(CLASS_NAME, {
    timesteps,
    sigmas,
    advance(modelOutput, index, sample, noise) {
      const [sigma, next] = [sigmas[index] as number, sigmas[index + 1] as number];
      if (!options.stochastic_sampling) {
        const change = f(next - sigma);
        return sample.map((value, i) => value + f(change * (modelOutput[i] as number)));
      }
      const drawn = noise();
      const kept = f(1 - next);
      return sample.map((value, i) => f(kept * f(value - f(sigma * (modelOutput[i] as number)))) + f(next * (drawn[i] as number)));
    },
  });
}

function schedule(options: Options, count: number, { mu, sigmas: own }: StartOptions): { timesteps: number[]; sigmas: Float32Array } {
  const { num_train_timesteps: trained, shift_terminal } = options;
  // NumPy calculates with a request's own sigmas in float32, with computed ones in float64.
  const round = own === undefined ? (value: number) => value : f;
  let sigmas = (own ?? evenSigmas(options, count)).map(round).map((sigma) => shifted(options, sigma, mu, round));

  if (shift_terminal) {
    const stretch = round(round(1 - (sigmas.at(-1) as number)) / round(1 - shift_terminal));
    sigmas = sigmas.map((sigma) => round(1 - round(round(1 - sigma) / stretch)));
  }
  if (options.use_karras_sigmas || options.use_exponential_sigmas) {
    const spaced = options.use_karras_sigmas ? karrasSigmas : exponentialSigmas;
    sigmas = spaced(options.sigma_min ?? (sigmas.at(-1) as number), options.sigma_max ?? (sigmas[0] as number), count);
  }
  const levels = sigmas.map((sigma) => (options.invert_sigmas ? f(1 - f(sigma)) : f(sigma)));
  return {
    timesteps: levels.map((sigma) => f(sigma * trained)),
    sigmas: Float32Array.from([...levels, options.invert_sigmas ? 1 : 0]),
  };
}

/** Sigmas spaced evenly between those of the last and the first training timestep, which a fixed shift has moved already. */
function evenSigmas({ num_train_timesteps: trained, shift, use_dynamic_shifting }: Options, count: number): number[] {
  const end = (sigma: number) => (use_dynamic_shifting ? sigma : f(f(f(shift) * sigma) / f(f(f(shift - 1) * sigma) + 1)));
  return linspace(end(1) * trained, end(f(1 / trained)) * trained, count).map((timestep) => timestep / trained);
}

function shifted(
  { use_dynamic_shifting, time_shift_type, shift }: Options,
  sigma: number,
  mu: number | undefined,
  round: (value: number) => number,
): number {
  if (!use_dynamic_shifting || mu === undefined) {
    return round(round(round(shift) * sigma) / round(1 + round(round(shift - 1) * sigma)));
  }
  const strength = round(time_shift_type === "exponential" ? Math.exp(mu) : mu);
  return round(strength / round(strength + round(round(1 / sigma) - 1)));
}
