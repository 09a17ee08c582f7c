/**
 * The part of a Sampling that all schedulers share: steps come in order, arrays have one length, and noise is there when it is needed.
 */
import { UsageError } from "../errors.ts";
import type { Sampling, Scheduler, StartOptions } from "./scheduler.ts";

/** What a scheduler has to say about a request; `sampling` makes the rest of it. */
export interface SamplingParts {
  timesteps: readonly number[];
  sigmas: Float32Array;
  /** Default 1. */
  initNoiseSigma?: number;
  /** Default: the sample itself. */
  scale?: (sample: Float32Array, index: number) => Float32Array;
  /** Takes a step whose arguments have been checked; `noise` fails by itself when the caller gave none. */
  advance: (modelOutput: Float32Array, index: number, sample: Float32Array, noise: () => Float32Array) => Float32Array;
}

/** Makes a Sampling that checks its arguments. */
export function sampling(className: string, parts: SamplingParts): Sampling {
  const { timesteps, sigmas, initNoiseSigma = 1, scale, advance } = parts;
  let next = 0;
  return {
    timesteps,
    sigmas,
    initNoiseSigma,
    order: 1,
    scaleModelInput(sample, index) {
      if (!(index in timesteps)) throw new UsageError(`${className} has no step ${index}, expected 0 to ${timesteps.length - 1}`);
      return scale === undefined ? sample : scale(sample, index);
    },
    step(modelOutput, index, sample, noise) {
      if (next === timesteps.length) throw new UsageError(`${className} has taken all of its ${timesteps.length} steps, got step ${index}`);
      if (index !== next) throw new UsageError(`${className} takes its steps in order, expected step ${next}, got step ${index}`);
      if (modelOutput.length !== sample.length) {
        throw new UsageError(`${className} got a model output of ${modelOutput.length} values, expected the sample's ${sample.length}`);
      }
      const drawNoise = () => {
        const drawn = noise?.();
        if (drawn === undefined)
          throw new UsageError(`${className} adds noise at every step with these options, expected a source of noise, got none`);
        if (drawn.length !== sample.length) {
          throw new UsageError(`${className} got ${drawn.length} values of noise, expected the sample's ${sample.length}`);
        }
        return drawn;
      };
      const previous = advance(modelOutput, index, sample, drawNoise);
      next += 1;
      return previous;
    },
  };
}

/** Throws a UsageError unless the number of steps is a whole one that the scheduler was trained for. */
export function checkSteps(scheduler: Pick<Scheduler, "className" | "numTrainTimesteps">, numInferenceSteps: number): void {
  if (!Number.isInteger(numInferenceSteps) || numInferenceSteps < 1) {
    throw new UsageError(`number of inference steps is ${String(numInferenceSteps)}, expected a whole number of 1 or more`);
  }
  if (numInferenceSteps > scheduler.numTrainTimesteps) {
    throw new UsageError(
      `number of inference steps is ${numInferenceSteps}, more than the ${scheduler.numTrainTimesteps} that ${scheduler.className} was trained for`,
    );
  }
}

/** Throws a UsageError for options that this scheduler has no use for; `images` every scheduler takes. */
export function checkOptions(className: string, options: StartOptions, known: readonly (keyof StartOptions)[]): void {
  for (const key of Object.keys(options) as (keyof StartOptions)[]) {
    if (options[key] !== undefined && key !== "images" && !known.includes(key))
      throw new UsageError(`${className} has no use for the option ${key} with this config`);
  }
  const { images = 1 } = options;
  if (!Number.isInteger(images) || images < 1)
    throw new UsageError(`number of images is ${String(images)}, expected a whole number of 1 or more`);
}
