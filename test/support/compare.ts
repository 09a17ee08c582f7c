/** Compares numbers with the reference and says how far apart they are, and where. */
import { expect } from "vitest";

/** How two arrays differ. */
export interface Difference {
  readonly maxAbs: number;
  readonly relativeRms: number;
  readonly worst: { readonly index: number; readonly got: number; readonly want: number };
}

/** Measures the difference of two arrays of equal length; a NaN on either side alone counts as infinite. */
export function difference(got: ArrayLike<number>, want: ArrayLike<number>): Difference {
  expect(got.length).toBe(want.length);
  let sumSquared = 0;
  let sumWant = 0;
  let worst = { index: 0, got: Number.NaN, want: Number.NaN };
  let maxAbs = -1;
  for (let index = 0; index < want.length; index++) {
    const a = got[index] as number;
    const b = want[index] as number;
    const delta = Object.is(a, b) || (Number.isNaN(a) && Number.isNaN(b)) ? 0 : Math.abs(a - b);
    const error = Number.isNaN(delta) ? Number.POSITIVE_INFINITY : delta;
    sumSquared += error * error;
    sumWant += Number.isNaN(b) ? 0 : b * b;
    if (error > maxAbs) {
      maxAbs = error;
      worst = { index, got: a, want: b };
    }
  }
  return { maxAbs, relativeRms: Math.sqrt(sumSquared / Math.max(sumWant, Number.MIN_VALUE)), worst };
}

/** Fails with the whole report unless the relative RMS is within the tolerance. */
export function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, relativeRms: number, what: string): void {
  const found = difference(got, want);
  const { index, got: gotValue, want: wantValue } = found.worst;
  const report =
    `${what}: relative RMS ${found.relativeRms.toExponential(2)} (allowed ${relativeRms}), max abs ${found.maxAbs.toExponential(2)}, ` +
    `worst at ${index}: got ${gotValue}, want ${wantValue}`;
  expect(found.relativeRms <= relativeRms, report).toBe(true);
}
