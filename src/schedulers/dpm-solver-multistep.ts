/**
 * DPMSolverMultistepScheduler: few steps of high order, each reusing the predictions of the steps before (Lu et al. 2022). PixArt's default.
 *
 * Source: diffusers scheduling_dpmsolver_multistep.py@0.42.1. Differs: always begins at the first noise level (diffusers looks the first
 * timestep up and, where the schedule repeats it, begins at its second place and runs off the end); a schedule that repeats a noise level,
 * where second-order steps divide by zero, is refused; betas by scipy and predicted variance of pixel models are not supported.
 */
import { UsageError } from "../errors.ts";
import { type DpmSolverOptions, parseDpmSolverOptions } from "./dpm-solver-options.ts";
import { planSchedule, type TrainedNoise, trainedNoise } from "./dpm-solver-schedule.ts";
import { isFinitePlan, type Level, levelOf, planStep, type StepPlan, takeStep } from "./dpm-solver-terms.ts";
import { checkOptions, checkSteps, sampling } from "./sampling.ts";
import type { Sampling, Scheduler, StartOptions } from "./scheduler.ts";
import { thresholded } from "./threshold.ts";

const CLASS_NAME = "DPMSolverMultistepScheduler";
const f = Math.fround;

// From this many steps on, lower_order_final has no effect.
const MANY_STEPS = 15;

/** Checks the config of a DPMSolverMultistepScheduler. Errors: UnsupportedError and CheckpointError that name the option. */
export function dpmSolverMultistep(config: unknown, where: string | undefined): Scheduler {
  const { options, ignoredOptions } = parseDpmSolverOptions(CLASS_NAME, config, where);
  const trained = trainedNoise(CLASS_NAME, options, where);
  const scheduler = { className: CLASS_NAME, config: options, ignoredOptions, numTrainTimesteps: options.num_train_timesteps };
  return {
    ...scheduler,
    start(numInferenceSteps, startOptions = {}) {
      checkSteps(scheduler, numInferenceSteps);
      checkOptions(CLASS_NAME, startOptions, options.use_dynamic_shifting ? ["mu"] : []);
      return start(options, trained, numInferenceSteps, startOptions);
    },
  };
}

function start(options: DpmSolverOptions, trained: TrainedNoise, numInferenceSteps: number, { mu, images = 1 }: StartOptions): Sampling {
  if (mu !== undefined && !Number.isFinite(mu)) throw new UsageError(`the option mu is ${mu}, expected a finite number`);
  const flowShift = mu === undefined ? options.flow_shift : Math.exp(mu);
  const { timesteps, sigmas } = planSchedule(options, trained, numInferenceSteps, flowShift);
  const plans = planSteps(options, sigmas, timesteps.length);
  const dividing = plans.findIndex((plan) => !isFinitePlan(plan));
  if (dividing >= 0) {
    const subject = `number of inference steps is ${numInferenceSteps}, with which step ${dividing} of ${CLASS_NAME} divides by zero`;
    const hint = dividing === timesteps.length - 1 ? 'the config needs euler_at_final, or final_sigmas_type "zero"' : "ask for fewer steps";
    throw new UsageError(`${subject}, expected noise levels that fall at every step`, { hint });
  }
  const isStochastic = options.algorithm_type.startsWith("sde-");
  let predictions: Float32Array[] = [];

  return sampling(CLASS_NAME, {
    timesteps,
    sigmas,
    advance(modelOutput, index, sample, noise) {
      const drawn = isStochastic ? noise() : undefined;
      const newest = convert(options, modelOutput, sample, sigmas[index] as number, images);
      predictions = [newest, ...predictions].slice(0, options.solver_order);
      return takeStep(plans[index] as StepPlan, sample, predictions, drawn);
    },
  });
}

function planSteps(options: DpmSolverOptions, sigmas: Float32Array, count: number): StepPlan[] {
  const levels = Array.from(sigmas, (sigma) => levelOf(sigma, options.use_flow_sigmas));
  return Array.from({ length: count }, (_, index) => {
    const path = levels.slice(index + 1 - orderAt(options, index, count), index + 2).reverse();
    return planStep(options.algorithm_type, options.solver_type, path as [Level, Level, ...Level[]]);
  });
}

function orderAt(options: DpmSolverOptions, index: number, count: number): 1 | 2 | 3 {
  const lowersOrder = options.lower_order_final && count < MANY_STEPS;
  const isLast = index === count - 1;
  if (isLast && (options.euler_at_final || lowersOrder || options.final_sigmas_type === "zero")) return 1;
  const isSecondToLast = index === count - 2 && lowersOrder;
  return Math.min(options.solver_order, index + 1, isSecondToLast ? 2 : 3) as 1 | 2 | 3;
}

/** Turns the model's output into what the algorithm works on: the picture ("++") or the noise in the sample. */
function convert(
  options: DpmSolverOptions,
  output: Float32Array,
  sample: Float32Array,
  scheduleSigma: number,
  images: number,
): Float32Array {
  const { prediction_type, algorithm_type } = options;
  const { alpha, sigma } = levelOf(scheduleSigma, options.use_flow_sigmas);
  const threshold = { ratio: options.dynamic_thresholding_ratio, maximum: options.sample_max_value };
  const pictureOf = (noise: Float32Array) => noise.map((value, i) => f((sample[i] as number) - f(sigma * value)) / alpha);
  const noiseOf = (picture: Float32Array) => picture.map((value, i) => f((sample[i] as number) - f(alpha * value)) / sigma);

  if (algorithm_type === "dpmsolver++" || algorithm_type === "sde-dpmsolver++") {
    const picture = {
      epsilon: () => pictureOf(output),
      sample: () => output.slice(),
      v_prediction: () => output.map((value, i) => f(alpha * (sample[i] as number)) - f(sigma * value)),
      flow_prediction: () => output.map((value, i) => (sample[i] as number) - f(scheduleSigma * value)),
    }[prediction_type]();
    return options.thresholding ? thresholded(picture, images, threshold) : picture;
  }
  const noise = {
    epsilon: () => output.slice(),
    sample: () => noiseOf(output),
    v_prediction: () => output.map((value, i) => f(alpha * value) + f(sigma * (sample[i] as number))),
    flow_prediction: () => output.slice(),
  }[prediction_type]();
  return options.thresholding ? noiseOf(thresholded(pictureOf(noise), images, threshold)) : noise;
}
