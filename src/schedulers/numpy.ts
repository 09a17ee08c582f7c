/**
 * The few NumPy and torch functions on which timesteps and sigmas depend to the last bit.
 *
 * diffusers computes schedules partly in NumPy float64, partly in float32, and truncates the result to whole timesteps: one wrong bit can
 * move a timestep. So these follow the libraries' own order of operations. float32 work is doubles rounded with `fround`, where
 * `fround(a * b + c)` is a fused multiply-add.
 * Source: numpy 2.4.6, torch 2.13.0 (x86 with AVX2 or AVX512).
 */

const f = Math.fround;

/** Nearest whole number, halves to even. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/** `count` numbers from start to stop, both included. */
export function linspace(start: number, stop: number, count: number): number[] {
  if (count === 1) return [start];
  const step = (stop - start) / (count - 1);
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? stop : i * step + start));
}

/** Numbers from start, `step` apart, before stop; rounding may yield one more than expected, as in NumPy. */
export function arange(start: number, stop: number, step: number): number[] {
  const count = Math.max(0, Math.ceil((stop - start) / step));
  const difference = start + step - start;
  return Array.from({ length: count }, (_, i) => (i === 1 ? start + step : start + i * difference));
}

/** Linear interpolation in a table of values at 0, 1, 2…; outside, its first or last value. */
export function interpolate(at: number, table: ArrayLike<number>): number {
  const last = table.length - 1;
  if (!(at > 0)) return table[0] as number;
  if (at >= last) return table[last] as number;
  const index = Math.floor(at);
  const low = table[index] as number;
  return ((table[index + 1] as number) - low) * (at - index) + low;
}

/** torch.linspace in float32: counted from the nearer end. */
export function linspaceFloat32(start: number, stop: number, count: number): Float32Array {
  const [first, last] = [f(start), f(stop)];
  const step = f(f(last - first) / (count - 1));
  const half = Math.floor(count / 2);
  return Float32Array.from({ length: count }, (_, i) => (i < half ? step * i + first : -step * (count - 1 - i) + last));
}

const LOG_P = [0, 0.9999999999999999, 2.112677543073053, 1.4800006335765066, 0.3808837741388408, 0.025899791179079226].map(f);
const LOG_Q = [1, 2.6126775430731093, 2.453006071784736, 0.9864942958519419, 0.15464763749839067, 0.005875095403124574].map(f);
const LN2 = f(Math.LN2);

/** np.log of a positive float32 number: a quotient of polynomials, up to 3 ulp off the true logarithm. */
export function logFloat32(value: number): number {
  let exponent = Math.ceil(Math.log2(value));
  let mantissa = value / 2 ** exponent;
  while (mantissa >= 1) {
    mantissa /= 2;
    exponent += 1;
  }
  while (mantissa < 0.5) {
    mantissa *= 2;
    exponent -= 1;
  }
  if (mantissa <= f(Math.SQRT1_2)) {
    mantissa *= 2;
    exponent -= 1;
  }
  const x = mantissa - 1;
  const polynomial = (terms: readonly number[]) => terms.reduceRight((sum, term) => f(sum * x + term));
  return f(exponent * LN2 + f(polynomial(LOG_P) / polynomial(LOG_Q)));
}
