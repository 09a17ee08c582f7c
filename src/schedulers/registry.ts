/**
 * The schedulers that halftone knows, by diffusers' class names (as in model_index.json and scheduler_config.json).
 */
import { nearestWord, UnsupportedError } from "../errors.ts";
import { ddim } from "./ddim.ts";
import { dpmSolverMultistep } from "./dpm-solver-multistep.ts";
import { eulerDiscrete } from "./euler-discrete.ts";
import { flowMatchEuler } from "./flow-match-euler.ts";
import type { Scheduler } from "./scheduler.ts";

type Schedulers = Readonly<Record<string, (config: unknown, where: string | undefined) => Scheduler>>;

const DIFFUSION: Schedulers = {
  DDIMScheduler: ddim,
  DPMSolverMultistepScheduler: dpmSolverMultistep,
  EulerDiscreteScheduler: eulerDiscrete,
};

const FLOW_MATCHING: Schedulers = {
  FlowMatchEulerDiscreteScheduler: flowMatchEuler,
};

const SCHEDULERS: Schedulers = { ...DIFFUSION, ...FLOW_MATCHING };

/** Class names of schedulers for models that predict noise, and a picture in which noise grows. */
export const DIFFUSION_SCHEDULERS: readonly string[] = Object.keys(DIFFUSION);

/** Class names of schedulers for models that predict the way from picture to noise; the first sample is plain noise. */
export const FLOW_MATCHING_SCHEDULERS: readonly string[] = Object.keys(FLOW_MATCHING);

/** Class names of all schedulers that `createScheduler` makes. */
export const SCHEDULER_CLASSES: readonly string[] = Object.keys(SCHEDULERS);

/**
 * Makes the scheduler of a class from the contents of its scheduler_config.json; `where` names that file in errors.
 *
 * Errors: UnsupportedError for an unknown class or a value that halftone does not carry out, CheckpointError for a value that is wrong.
 */
export function createScheduler(className: string, config: unknown, where?: string): Scheduler {
  const create = Object.hasOwn(SCHEDULERS, className) ? SCHEDULERS[className] : undefined;
  if (create !== undefined) return create(config, where);
  const near = nearestWord(kindOf(className), SCHEDULER_CLASSES.map(kindOf));
  throw new UnsupportedError(`scheduler class is "${className}", expected one of ${SCHEDULER_CLASSES.join(", ")}`, {
    where,
    hint: near === undefined ? undefined : `did you mean ${near}Scheduler?`,
  });
}

function kindOf(className: string): string {
  return className.replace(/Scheduler$/, "");
}
