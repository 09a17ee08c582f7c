/** What several runs say together. */

/** The middle of some numbers, and how far they lie apart. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The middle value, of an even count the mean of the middle two; undefined for no numbers. */
export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const [below, at] = [sorted[half - 1], sorted[half]];
  return sorted.length % 2 === 0 && below !== undefined && at !== undefined ? (below + at) / 2 : at;
}

/** Median, smallest and largest; undefined for no numbers. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  const middle = median(values);
  return middle === undefined ? undefined : { median: middle, min: Math.min(...values), max: Math.max(...values) };
}
