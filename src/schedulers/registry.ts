/**
 * The schedulers that halftone knows, by diffusers' class names (as in model_index.json and scheduler_config.json).
 */
import { nearestWord, UnsupportedError } from "../errors.ts";
import { ddim } from "./ddim.ts";
import { dpmSolverMultistep } from "./dpm-solver-multistep.ts";
import { eulerDiscrete } from "./euler-discrete.ts";
import { flowMatchEuler } from "./flow-match-euler.ts";
import type { Scheduler } from "./scheduler.ts";

const SCHEDULERS: Readonly<Record<string, (config: unknown, where: string | undefined) => Scheduler>> = {
  DDIMScheduler: ddim,
  DPMSolverMultistepScheduler: dpmSolverMultistep,
  EulerDiscreteScheduler: eulerDiscrete,
  FlowMatchEulerDiscreteScheduler: flowMatchEuler,
};

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
