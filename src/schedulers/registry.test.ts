import { describe, expect, test } from "vitest";
import { CheckpointError, HalftoneError, UnsupportedError, UsageError } from "../errors.ts";
import { createScheduler, DIFFUSION_SCHEDULERS, FLOW_MATCHING_SCHEDULERS, SCHEDULER_CLASSES } from "./registry.ts";
import { type ContractSubject, schedulerContract } from "./scheduler.contract.ts";
import type { StartOptions } from "./scheduler.ts";

const WHERE = "scheduler/scheduler_config.json";
const DPM = "DPMSolverMultistepScheduler";
const DDIM = "DDIMScheduler";
const EULER = "EulerDiscreteScheduler";
const FLOW = "FlowMatchEulerDiscreteScheduler";

type Oracle = NonNullable<ContractSubject["oracle"]>;
/** Noise in a variance-preserving sample. */
const noiseOf: Oracle = (sample, sigma, picture) => (sample * Math.hypot(1, sigma) - picture) / sigma;
/** Noise in a sample of which sigma is the noise's deviation; a flow's velocity is the same expression. */
const slopeOf: Oracle = (sample, sigma, picture) => (sample - picture) / sigma;
const pictureItself: Oracle = (_sample, _sigma, picture) => picture;
const velocityOf: Oracle = (sample, sigma, picture) => {
  const alpha = 1 / Math.hypot(1, sigma);
  return (alpha * sample - picture) / (alpha * sigma);
};

const subjects: [string, string, Record<string, unknown>, Omit<ContractSubject, "create">][] = [
  ["DPM-Solver++", DPM, {}, { oracle: noiseOf }],
  ["DPM-Solver++ of order 3", DPM, { solver_order: 3, use_karras_sigmas: true }, { oracle: noiseOf }],
  ["DPM-Solver++ on velocities", DPM, { prediction_type: "v_prediction", timestep_spacing: "trailing" }, { oracle: velocityOf }],
  ["DPM-Solver++ on pictures", DPM, { prediction_type: "sample", use_lu_lambdas: true }, { oracle: pictureItself }],
  ["DPM-Solver++ on flows", DPM, { prediction_type: "flow_prediction", use_flow_sigmas: true }, { oracle: slopeOf }],
  ["DPM-Solver", DPM, { algorithm_type: "dpmsolver", final_sigmas_type: "sigma_min" }, {}],
  ["SDE-DPM-Solver++", DPM, { algorithm_type: "sde-dpmsolver++" }, { oracle: noiseOf, stochastic: true }],
  ["SDE-DPM-Solver", DPM, { algorithm_type: "sde-dpmsolver", final_sigmas_type: "sigma_min" }, { stochastic: true }],
  ["DDIM", DDIM, {}, { oracle: noiseOf }],
  ["DDIM on velocities", DDIM, { prediction_type: "v_prediction", timestep_spacing: "linspace" }, { oracle: velocityOf }],
  ["DDIM with fresh noise", DDIM, {}, { options: { eta: 1 }, oracle: noiseOf, stochastic: true }],
  ["Euler", EULER, {}, { oracle: slopeOf }],
  ["Euler Karras, leading", EULER, { use_karras_sigmas: true, timestep_spacing: "leading" }, { oracle: slopeOf }],
  ["Euler on pictures", EULER, { prediction_type: "sample", use_exponential_sigmas: true }, { oracle: pictureItself }],
  ["flow matching", FLOW, { shift: 3 }, { oracle: slopeOf }],
  ["flow matching, dynamic", FLOW, { use_dynamic_shifting: true }, { options: { mu: 0.9 }, oracle: slopeOf }],
  ["flow matching, stochastic", FLOW, { stochastic_sampling: true }, { oracle: slopeOf, stochastic: true }],
];

for (const [name, className, config, subject] of subjects) {
  schedulerContract(name, { create: () => createScheduler(className, config, WHERE), ...subject });
}

function failure(action: () => unknown): HalftoneError {
  try {
    action();
  } catch (error) {
    if (error instanceof HalftoneError) return error;
    throw error;
  }
  throw new Error("expected an error");
}

describe("classes", () => {
  test("are known by diffusers' names", () => {
    expect(SCHEDULER_CLASSES).toEqual([DDIM, DPM, EULER, FLOW]);
    expect([...DIFFUSION_SCHEDULERS, "and", ...FLOW_MATCHING_SCHEDULERS]).toEqual([DDIM, DPM, EULER, "and", FLOW]);
    for (const className of SCHEDULER_CLASSES) expect(createScheduler(className, {}).className).toBe(className);
  });

  test.each([
    ["EulerDiscreetScheduler", "did you mean EulerDiscreteScheduler?"],
    ["LCMScheduler", undefined],
    ["constructor", undefined],
  ])("%s is refused by name", (className, hint) => {
    const error = failure(() => createScheduler(className, {}, "model_index.json"));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toBe(`scheduler class is "${className}", expected one of ${SCHEDULER_CLASSES.join(", ")}`);
    expect(error.where).toBe("model_index.json");
    expect(error.hint).toBe(hint);
  });
});

describe("configs", () => {
  test("real ones pass: -Infinity, null flags, keys of other classes", () => {
    const scheduler = createScheduler(DPM, {
      _class_name: DPM,
      _diffusers_version: "0.22.0.dev0",
      lambda_min_clipped: Number.NEGATIVE_INFINITY,
      trained_betas: null,
      variance_type: null,
      use_karras_sigmas: null,
      lower_order_final: null,
      skip_prk_steps: true,
      clip_sample: false,
    });
    expect(scheduler.ignoredOptions).toEqual(["skip_prk_steps", "clip_sample"]);
    expect(scheduler.config).toMatchObject({ use_karras_sigmas: false, lower_order_final: false, solver_order: 2, beta_end: 0.02 });
    expect(scheduler.numTrainTimesteps).toBe(1000);
  });

  const unsupported: [string, Record<string, unknown>, string][] = [
    [DPM, { use_beta_sigmas: true }, "option use_beta_sigmas is true, expected false"],
    [EULER, { use_beta_sigmas: true }, "option use_beta_sigmas is true, expected false"],
    [FLOW, { use_beta_sigmas: true }, "option use_beta_sigmas is true, expected false"],
    [DPM, { solver_order: 4 }, "option solver_order is 4, expected one of 1, 2, 3"],
    [DPM, { solver_type: "rk4" }, 'option solver_type is "rk4", expected one of "midpoint", "heun", "logrho", "bh1", "bh2"'],
    [
      DPM,
      { algorithm_type: "deis" },
      'option algorithm_type is "deis", expected one of "dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"',
    ],
    [DPM, { final_sigmas_type: "one" }, 'option final_sigmas_type is "one", expected one of "zero", "sigma_min"'],
    [DPM, { timestep_spacing: "middle" }, 'option timestep_spacing is "middle", expected one of "linspace", "leading", "trailing"'],
    [
      DPM,
      { beta_schedule: "laplace" },
      'option beta_schedule is "laplace", expected one of "linear", "scaled_linear", "squaredcos_cap_v2"',
    ],
    [DPM, { prediction_type: 3 }, 'option prediction_type is 3, expected one of "epsilon", "sample", "v_prediction", "flow_prediction"'],
    [
      DPM,
      { variance_type: "learned_range" },
      'option variance_type is "learned_range", expected null: halftone drops predicted variance before the scheduler sees it',
    ],
    [DPM, { time_shift_type: "linear" }, 'option time_shift_type is "linear", expected "exponential"'],
    [DPM, { algorithm_type: "dpmsolver" }, 'option final_sigmas_type is "zero", expected "sigma_min" for the algorithm dpmsolver'],
    [
      DPM,
      { algorithm_type: "dpmsolver", final_sigmas_type: "sigma_min", prediction_type: "flow_prediction" },
      'option prediction_type is "flow_prediction", which the algorithm dpmsolver cannot use',
    ],
    [
      DPM,
      { algorithm_type: "sde-dpmsolver", final_sigmas_type: "sigma_min", solver_order: 3 },
      "option solver_order is 3, expected 1 or 2 for the algorithm sde-dpmsolver",
    ],
    [DPM, { lambda_min_clipped: 100 }, "option lambda_min_clipped is 100, expected a number that leaves timesteps to visit"],
    ...[DPM, EULER, FLOW].map((className): [string, Record<string, unknown>, string] => [
      className,
      { use_karras_sigmas: true, use_exponential_sigmas: true },
      "option use_exponential_sigmas is true, expected false beside use_karras_sigmas",
    ]),
    [EULER, { interpolation_type: "cubic" }, 'option interpolation_type is "cubic", expected one of "linear", "log_linear"'],
    [FLOW, { time_shift_type: "square" }, 'option time_shift_type is "square", expected one of "exponential", "linear"'],
    [
      DDIM,
      { prediction_type: "flow_prediction" },
      'option prediction_type is "flow_prediction", expected one of "epsilon", "sample", "v_prediction"',
    ],
  ];
  test.each(unsupported)("%s %o is refused by name", (className, config, message) => {
    const error = failure(() => createScheduler(className, config, WHERE));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(error.message).toBe(`${className}'s ${message}`);
    expect(error.where).toBe(WHERE);
  });

  test.each<[string, unknown, string]>([
    [DPM, null, "the config of DPMSolverMultistepScheduler is null, expected an object"],
    [DDIM, [1], "the config of DDIMScheduler is an array, expected an object"],
    [
      DPM,
      { num_train_timesteps: 1e9 },
      "DPMSolverMultistepScheduler's option num_train_timesteps is 1000000000, expected a whole number from 2 to 100000",
    ],
    [
      FLOW,
      { num_train_timesteps: 10.5 },
      "FlowMatchEulerDiscreteScheduler's option num_train_timesteps is 10.5, expected a whole number from 2 to 100000",
    ],
    [FLOW, { shift: 0 }, "FlowMatchEulerDiscreteScheduler's option shift is 0, expected a finite number above 0"],
    [FLOW, { shift: "3" }, `FlowMatchEulerDiscreteScheduler's option shift is "3", expected a finite number above 0`],
    [EULER, { sigma_min: Number.NaN }, "EulerDiscreteScheduler's option sigma_min is NaN, expected a finite number or null"],
    [DPM, { beta_end: Number.POSITIVE_INFINITY }, "DPMSolverMultistepScheduler's option beta_end is Infinity, expected a finite number"],
    [DPM, { lower_order_final: "yes" }, `DPMSolverMultistepScheduler's option lower_order_final is "yes", expected true or false`],
    [DPM, { steps_offset: -1 }, "DPMSolverMultistepScheduler's option steps_offset is -1, expected a whole number from 0 to 1000"],
    [DDIM, { trained_betas: [0.1, 0.2] }, "DDIMScheduler's option trained_betas has 2 values, expected num_train_timesteps, 1000"],
    [DDIM, { trained_betas: [0.1, "b"] }, 'DDIMScheduler\'s option trained_betas[1] is "b", expected a number'],
    [DDIM, { beta_end: 1.5 }, "DDIMScheduler's beta of timestep 666 is 1.0000333786010742, expected a number between 0 and 1"],
  ])("%s %o is a fault of the file", (className, config, message) => {
    const error = failure(() => createScheduler(className, config, WHERE));
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toBe(message);
    expect(error.where).toBe(WHERE);
  });
});

describe("requests", () => {
  test.each<[string, Record<string, unknown>, number, StartOptions, string]>([
    [DPM, {}, 4, { mu: 1 }, `${DPM} has no use for the option mu with this config`],
    [DPM, {}, 4, { sigmas: [1] }, `${DPM} has no use for the option sigmas with this config`],
    [DDIM, {}, 4, { mu: 1 }, `${DDIM} has no use for the option mu with this config`],
    [EULER, {}, 4, { eta: 0.5 }, `${EULER} has no use for the option eta with this config`],
    [FLOW, {}, 4, { eta: 0.5 }, `${FLOW} has no use for the option eta with this config`],
    [FLOW, { use_dynamic_shifting: true }, 4, {}, `${FLOW} with use_dynamic_shifting needs the option mu, expected a number, got none`],
    [FLOW, { use_dynamic_shifting: true }, 4, { mu: Number.NaN }, "the option mu is NaN, expected a finite number"],
    [FLOW, {}, 4, { sigmas: [1, 0.5] }, "the option sigmas has 2 values, expected one for each of 4 steps"],
    [FLOW, {}, 2, { sigmas: [1, 0] }, "the option sigmas has the value 0, expected numbers above 0 and at most 1"],
    [DDIM, {}, 4, { eta: 2 }, "the option eta is 2, expected a number from 0 to 1"],
    [DDIM, {}, 4, { images: 0 }, "number of images is 0, expected a whole number of 1 or more"],
    [
      DDIM,
      { steps_offset: 1 },
      1000,
      {},
      `number of inference steps is 1000, with which ${DDIM} and its steps_offset reach timestep 1000, expected at most 999`,
    ],
  ])("%s %o, %i steps, %o", (className, config, steps, options, message) => {
    const error = failure(() => createScheduler(className, config, WHERE).start(steps, options));
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toBe(message);
  });

  // diffusers gives NaN from exactly these steps on.
  test.each<[Record<string, unknown>, number, number, string]>([
    [{}, 1000, 500, "ask for fewer steps"],
    [{ timestep_spacing: "leading" }, 1000, 1, "ask for fewer steps"],
    [
      { solver_type: "heun", use_karras_sigmas: true, final_sigmas_type: "sigma_min", lower_order_final: false },
      20,
      19,
      'the config needs euler_at_final, or final_sigmas_type "zero"',
    ],
  ])("%o in %i steps would divide by zero in step %i", (config, steps, step, hint) => {
    const error = failure(() => createScheduler(DPM, config).start(steps));
    expect(error.message).toBe(
      `number of inference steps is ${steps}, with which step ${step} of ${DPM} divides by zero, expected noise levels that fall at every step`,
    );
    expect(error.hint).toBe(hint);
  });

  test("thresholding needs images of equal size", () => {
    const sampling = createScheduler(DPM, { thresholding: true }).start(2, { images: 3 });
    const values = new Float32Array(8);
    expect(() => sampling.step(values, 0, values)).toThrow("a sample of 8 values cannot be thresholded as 3 images of equal size");
  });
});
