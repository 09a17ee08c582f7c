/**
 * What every scheduler must obey, whatever its config: call `schedulerContract` in a test file for each class and config.
 *
 * The oracle is a model that knows the picture: following it, every scheduler has to arrive there.
 */
import { describe, expect, test } from "vitest";
import { UsageError } from "../errors.ts";
import type { Sampling, Scheduler, StartOptions } from "./scheduler.ts";

/** A scheduler under test. */
export interface ContractSubject {
  create: () => Scheduler;
  /** Options that every request needs. */
  options?: StartOptions;
  /** What a perfect model says of a sample at a noise level of the schedule; leave out where the end is not the picture itself. */
  oracle?: (sample: number, sigma: number, picture: number) => number;
  stochastic?: boolean;
}

const SIZE = 24;

/** Deterministic numbers between -1 and 1, different for every seed. */
function wave(seed: number): Float32Array {
  return Float32Array.from({ length: SIZE }, (_, i) => Math.sin(1.7 * i + 12.9898 * seed));
}

function run(sampling: Sampling, seed: number): Float32Array {
  let sample: Float32Array = wave(seed).map((value) => value * sampling.initNoiseSigma);
  for (let i = 0; i < sampling.timesteps.length; i++) sample = sampling.step(wave(seed + i + 1), i, sample, () => wave(seed - i));
  return sample;
}

/** Runs the contract on one scheduler. */
export function schedulerContract(name: string, { create, options = {}, oracle, stochastic = false }: ContractSubject): void {
  describe(`${name}: contract`, () => {
    test.each([1, 2, 3, 10, 50])("a plan of %i steps is whole and finite", (steps) => {
      const sampling = create().start(steps, options);
      expect(sampling.timesteps).toHaveLength(steps);
      expect(sampling.sigmas).toHaveLength(steps + 1);
      for (const value of [...sampling.timesteps, ...sampling.sigmas, sampling.initNoiseSigma]) expect(value).toSatisfy(Number.isFinite);
      expect(sampling.initNoiseSigma).toBeGreaterThan(0);
      expect(sampling.order).toBe(1);
    });

    test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])("%s steps are refused", (steps) => {
      const message = `number of inference steps is ${steps}, expected a whole number of 1 or more`;
      expect(() => create().start(steps, options)).toThrow(new UsageError(message));
    });

    test("more steps than it was trained for are refused", () => {
      const { className, numTrainTimesteps } = create();
      const message = `number of inference steps is ${numTrainTimesteps + 1}, more than the ${numTrainTimesteps} that ${className} was trained for`;
      expect(() => create().start(numTrainTimesteps + 1, options)).toThrow(new UsageError(message));
    });

    test("steps give fresh arrays and leave their arguments alone", () => {
      const sampling = create().start(4, options);
      const [output, sample] = [wave(1), wave(2)];
      const shown = sampling.scaleModelInput(sample, 0);
      const previous = sampling.step(output, 0, sample, () => wave(3));
      expect(previous).not.toBe(sample);
      expect(previous).not.toBe(output);
      expect(shown).toHaveLength(SIZE);
      expect([output, sample]).toEqual([wave(1), wave(2)]);
      // What a step returned is the caller's: changing it must not reach the next step.
      const twin = create().start(4, options);
      twin.step(wave(1), 0, wave(2), () => wave(3));
      output.fill(9);
      const next = previous.slice();
      previous.fill(9);
      expect(sampling.step(wave(4), 1, next, () => wave(5))).toEqual(twin.step(wave(4), 1, next, () => wave(5)));
    });

    test("requests do not share state", () => {
      const scheduler = create();
      const [alone, other] = [run(scheduler.start(5, options), 1), run(scheduler.start(5, options), 7)];
      const [a, b] = [scheduler.start(5, options), scheduler.start(5, options)];
      let [sampleA, sampleB] = [wave(1), wave(7)].map((noise) => noise.map((value) => value * a.initNoiseSigma)) as [
        Float32Array,
        Float32Array,
      ];
      for (let i = 0; i < 5; i++) {
        sampleA = a.step(wave(2 + i), i, sampleA, () => wave(1 - i));
        sampleB = b.step(wave(8 + i), i, sampleB, () => wave(7 - i));
      }
      expect([sampleA, sampleB]).toEqual([alone, other]);
      expect(alone).not.toEqual(other);
    });

    test("steps out of order, and after the last, are refused", () => {
      const { className } = create();
      const sampling = create().start(3, options);
      const step = (index: number) => sampling.step(wave(1), index, wave(2), () => wave(3));
      expect(() => step(1)).toThrow(new UsageError(`${className} takes its steps in order, expected step 0, got step 1`));
      for (const index of [0, 1, 2]) step(index);
      expect(() => step(2)).toThrow(new UsageError(`${className} has taken all of its 3 steps, got step 2`));
      expect(() => sampling.scaleModelInput(wave(1), 3)).toThrow(new UsageError(`${className} has no step 3, expected 0 to 2`));
    });

    test("a refused step can be taken again", () => {
      const { className } = create();
      const sampling = create().start(2, options);
      const message = `${className} got a model output of 3 values, expected the sample's ${SIZE}`;
      expect(() => sampling.step(new Float32Array(3), 0, wave(2), () => wave(3))).toThrow(new UsageError(message));
      expect(sampling.step(wave(1), 0, wave(2), () => wave(3))).toEqual(
        create()
          .start(2, options)
          .step(wave(1), 0, wave(2), () => wave(3)),
      );
    });

    test(stochastic ? "fresh noise is asked for and needed" : "fresh noise is not asked for", () => {
      const { className } = create();
      let asked = 0;
      const noise = () => {
        asked += 1;
        return wave(3);
      };
      create().start(4, options).step(wave(1), 0, wave(2), noise);
      expect(asked).toBe(stochastic ? 1 : 0);
      const without = () => create().start(4, options).step(wave(1), 0, wave(2));
      if (!stochastic) return void expect(without()).toHaveLength(SIZE);
      expect(without).toThrow(`${className} adds noise at every step with these options, expected a source of noise, got none`);
      expect(() =>
        create()
          .start(4, options)
          .step(wave(1), 0, wave(2), () => new Float32Array(2)),
      ).toThrow(`${className} got 2 values of noise, expected the sample's ${SIZE}`);
    });

    if (oracle !== undefined) {
      test.each([1, 4, 20])("a model that knows the picture leads to it in %i steps", (steps) => {
        const sampling = create().start(steps, options);
        const picture = wave(40);
        let sample: Float32Array = wave(5).map((value) => value * sampling.initNoiseSigma);
        for (let i = 0; i < steps; i++) {
          const sigma = sampling.sigmas[i] as number;
          const output = sample.map((value, k) => oracle(value, sigma, picture[k] as number));
          sample = sampling.step(output, i, sample, () => wave(i));
        }
        for (const [k, value] of sample.entries()) expect(Math.abs(value - (picture[k] as number))).toBeLessThan(1e-4);
      });
    }
  });
}
