/**
 * The contract of a noise scheduler: which noise levels a request visits, and how a model's prediction moves the sample from one to the next.
 *
 * A Scheduler is a checked config and holds no state. `start` gives a Sampling, which belongs to one request and remembers earlier
 * predictions, so that requests never mix. Everything is float32, rounded where diffusers rounds; timesteps are what the model is told.
 * `scheduler.contract.ts` holds what every scheduler must obey.
 */

/** What a request may ask of a scheduler beside the number of steps; each scheduler refuses, by name, what it has no use for. */
export interface StartOptions {
  /** Shift of the noise levels that depends on the picture's size, for configs with use_dynamic_shifting. */
  mu?: number | undefined;
  /** Noise levels to visit, one per step and without the final one (flow matching only). */
  sigmas?: readonly number[] | undefined;
  /** Share of fresh noise in each step, 0 to 1 (DDIM only, default 0). */
  eta?: number | undefined;
  /** Pictures in the sample, of equal size one after the other (default 1): thresholding looks at each by itself. */
  images?: number | undefined;
}

/** A noise scheduler, by diffusers' class name and config. */
export interface Scheduler {
  readonly className: string;
  /** The config with its defaults filled in, by diffusers' names. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Keys of the config that this class does not know and that have no effect, as in diffusers; those that start with "_" are not listed. */
  readonly ignoredOptions: readonly string[];
  /** Timesteps that the model was trained on: the most steps that a request can ask for. */
  readonly numTrainTimesteps: number;
  /**
   * Plans a request.
   *
   * Errors: UsageError when the number of steps is no integer of 1 to numTrainTimesteps, or an option does not fit.
   */
  start(numInferenceSteps: number, options?: StartOptions): Sampling;
}

/** The noise levels and the state of one request. */
export interface Sampling {
  /** What to tell the model at each step; its length is the number of steps. */
  readonly timesteps: readonly number[];
  /** Noise level before each step, then the one after the last. */
  readonly sigmas: Float32Array;
  /** What the first noise has to be multiplied by. */
  readonly initNoiseSigma: number;
  /** Model calls per step. */
  readonly order: number;
  /** What the model is to be shown in place of the sample: the sample itself, or a fresh array. */
  scaleModelInput(sample: Float32Array, index: number): Float32Array;
  /**
   * Takes step `index`: from the model's output and the sample to the next, less noisy sample, in a fresh array.
   *
   * `noise` is called at most once per step, by schedulers that add noise, for as many values as the sample has.
   * Errors: UsageError when steps are taken out of order, lengths differ, or noise is needed and not given.
   */
  step(modelOutput: Float32Array, index: number, sample: Float32Array, noise?: () => Float32Array): Float32Array;
}
