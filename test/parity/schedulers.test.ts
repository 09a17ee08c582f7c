/**
 * Schedulers against diffusers (reference/schedulers.py): timesteps exactly, sigmas to 1 float32 ulp, every step from the reference's own
 * sample and the whole trajectory from its own.
 */
import { describe, expect, test } from "vitest";
import { createScheduler } from "../../src/schedulers/registry.ts";
import type { Sampling, StartOptions } from "../../src/schedulers/scheduler.ts";
import { readFixtureJson, readFloatTensors } from "../support/tensor-file.ts";

/** Relative RMS of one step, or twice what the reference's own misrounded logarithms do to it, where that is more. */
const STEP_TOLERANCE = 1e-6;
/** Relative RMS after all steps, each of which hands its rounding on. */
const TRAJECTORY_TOLERANCE = 5e-6;

interface Case {
  name: string;
  class: string;
  config: Record<string, unknown>;
  request: StartOptions;
  ownSigmas: boolean;
  trajectories: number[];
  logRounding: number[];
  schedules: number[];
  notFinite?: number[];
}

const { cases, shape } = readFixtureJson<{ cases: Case[]; shape: number[] }>("schedulers/schedulers.json");
const tensors = readFloatTensors("schedulers/schedulers.safetensors");
const size = shape.reduce((product, dim) => product * dim, 1);

for (const example of cases) {
  describe(example.name, () => {
    test.each([...example.trajectories, ...example.schedules])("schedule of %i steps", (steps) => {
      const plan = startOf(example, steps);
      const timesteps = tensor(example, steps, "timesteps");
      // Continuous timesteps are logarithms by torch, the others come from NumPy.
      if (example.config.timestep_type === "continuous")
        expect(worstUlp(Float32Array.from(plan.timesteps), timesteps)).toBeLessThanOrEqual(1);
      else expect(plan.timesteps).toEqual([...timesteps]);
      const sigmas = tensors.get(`${example.name}/${steps}/sigmas`);
      if (sigmas !== undefined) expect(worstUlp(plan.sigmas, sigmas), "sigmas, in ulp").toBeLessThanOrEqual(1);
      else expect(plan.sigmas.length).toBe(plan.timesteps.length + 1);
    });

    test.each(example.trajectories)("trajectory of %i steps", (steps) => {
      const samples = rows(tensor(example, steps, "samples"));
      const scaled = rows(tensors.get(`${example.name}/${steps}/scaled`) ?? new Float32Array());
      const [stepwise, whole] = [startOf(example, steps), startOf(example, steps)];
      expect(
        worstUlp(Float32Array.of(stepwise.initNoiseSigma), tensor(example, steps, "init")),
        "initNoiseSigma, in ulp",
      ).toBeLessThanOrEqual(1);
      const tolerance = Math.max(STEP_TOLERANCE, 2 * (example.logRounding[example.trajectories.indexOf(steps)] as number));
      let sample = samples[0] as Float32Array;
      for (let i = 0; i < steps; i++) {
        const input = samples[i] as Float32Array;
        const shown = stepwise.scaleModelInput(input, i);
        expect(relativeRms(shown, scaled[i] ?? input), `scaled input of step ${i}`).toBeLessThanOrEqual(STEP_TOLERANCE);
        const next = stepwise.step(shared("outputs", i), i, input, () => shared("noise", i));
        expect(relativeRms(next, samples[i + 1] as Float32Array), `step ${i}`).toBeLessThanOrEqual(tolerance);
        sample = whole.step(shared("outputs", i), i, sample, () => shared("noise", i));
      }
      expect(relativeRms(sample, samples[steps] as Float32Array), "last sample").toBeLessThanOrEqual(TRAJECTORY_TOLERANCE);
    });

    if (example.notFinite !== undefined) {
      test.each(example.notFinite)("%i steps, where diffusers divides by zero, are refused", (steps) => {
        expect(() => startOf(example, steps)).toThrow("not finite");
      });
    }
  });
}

function startOf(example: Case, steps: number): Sampling {
  const sigmas = Array.from({ length: steps }, (_, i) => (i === steps - 1 ? 1 / steps : 1 + (i * (1 / steps - 1)) / (steps - 1)));
  const images = shape[0] as number;
  const scheduler = createScheduler(example.class, example.config, "fixture");
  return scheduler.start(steps, { ...example.request, images, ...(example.ownSigmas ? { sigmas } : {}) });
}

function tensor({ name }: Case, steps: number, kind: string): Float32Array {
  const found = tensors.get(`${name}/${steps}/${kind}`);
  if (found === undefined) throw new Error(`the fixture has no ${kind} of ${name} with ${steps} steps`);
  return found;
}

function rows(flat: Float32Array): Float32Array[] {
  return Array.from({ length: flat.length / size }, (_, i) => flat.slice(i * size, (i + 1) * size));
}

function shared(name: "outputs" | "noise", row: number): Float32Array {
  return (tensors.get(name) as Float32Array).slice(row * size, (row + 1) * size);
}

function relativeRms(got: Float32Array, want: Float32Array): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY;
  const sumSquares = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0);
  const difference = Float64Array.from(got, (value, i) => value - (want[i] as number));
  const squares = difference.reduce((sum, value) => sum + value * value, 0);
  return squares === 0 ? 0 : Math.sqrt(squares / sumSquares(want));
}

function worstUlp(got: Float32Array, want: Float32Array): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY;
  const [a, b] = [new Int32Array(got.slice().buffer), new Int32Array(want.slice().buffer)];
  return a.reduce((worst, bits, i) => Math.max(worst, Math.abs(bits - (b[i] as number))), 0);
}
