/**
 * The options of DPMSolverMultistepScheduler: which exist, which halftone carries out, which exclude each other.
 *
 * Source: diffusers scheduling_dpmsolver_multistep.py@0.42.1 `__init__`.
 */
import * as v from "valibot";
import { UnsupportedError } from "../errors.ts";
import { betaOptions } from "./beta-schedule.ts";
import { choice, finite, flag, maybeFinite, type ParsedOptions, parseOptions, positive, unsupportedFlag, whole } from "./config.ts";
import type { SolverType } from "./dpm-solver-terms.ts";
import { TIMESTEP_SPACINGS } from "./spacing.ts";

const entries = {
  ...betaOptions,
  solver_order: choice([1, 2, 3], 2),
  prediction_type: choice(["epsilon", "sample", "v_prediction", "flow_prediction"], "epsilon"),
  thresholding: flag(false),
  dynamic_thresholding_ratio: finite(0.995),
  sample_max_value: positive(1),
  algorithm_type: choice(["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"], "dpmsolver++"),
  // Names of other classes' solvers mean midpoint, as in diffusers.
  solver_type: v.pipe(
    choice(["midpoint", "heun", "logrho", "bh1", "bh2"], "midpoint"),
    v.transform((type): SolverType => (type === "heun" ? "heun" : "midpoint")),
  ),
  lower_order_final: flag(true),
  euler_at_final: flag(false),
  use_karras_sigmas: flag(false),
  use_exponential_sigmas: flag(false),
  use_beta_sigmas: unsupportedFlag(),
  use_lu_lambdas: flag(false),
  use_flow_sigmas: flag(false),
  flow_shift: positive(1),
  final_sigmas_type: choice(["zero", "sigma_min"], "zero"),
  lambda_min_clipped: v.optional(v.number("a number"), Number.NEGATIVE_INFINITY),
  variance_type: v.optional(v.null("null: halftone drops predicted variance before the scheduler sees it"), null),
  timestep_spacing: choice(TIMESTEP_SPACINGS, "linspace"),
  steps_offset: whole(0, 0, 1000),
  use_dynamic_shifting: flag(false),
  time_shift_type: choice(["exponential"], "exponential"),
  // Not the class's own, but diffusers' Karras and exponential spacings obey them when a config has them.
  sigma_min: maybeFinite(),
  sigma_max: maybeFinite(),
};

/** The options of a config, defaults filled in. */
export type DpmSolverOptions = v.InferOutput<v.ObjectSchema<typeof entries, undefined>>;

/** Checks a config. Errors: UnsupportedError and CheckpointError that name the option. */
export function parseDpmSolverOptions(className: string, config: unknown, where: string | undefined): ParsedOptions<DpmSolverOptions> {
  const parsed = parseOptions(className, entries, config, where);
  const { algorithm_type, solver_order, final_sigmas_type, prediction_type, use_karras_sigmas, use_exponential_sigmas } = parsed.options;
  const noiseBased = algorithm_type === "dpmsolver" || algorithm_type === "sde-dpmsolver";
  const refuse = (option: string, value: string, reason: string) => {
    throw new UnsupportedError(`${className}'s option ${option} is ${value}, ${reason}`, { where });
  };
  if (use_karras_sigmas && use_exponential_sigmas) refuse("use_exponential_sigmas", "true", "expected false beside use_karras_sigmas");
  if (noiseBased && final_sigmas_type === "zero")
    refuse("final_sigmas_type", '"zero"', `expected "sigma_min" for the algorithm ${algorithm_type}`);
  if (noiseBased && prediction_type === "flow_prediction") {
    refuse("prediction_type", '"flow_prediction"', `which the algorithm ${algorithm_type} cannot use`);
  }
  if (algorithm_type === "sde-dpmsolver" && solver_order === 3)
    refuse("solver_order", "3", "expected 1 or 2 for the algorithm sde-dpmsolver");
  return parsed;
}
