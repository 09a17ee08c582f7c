/**
 * Box-Muller on blocks of 16 float32 numbers, rounded exactly as torch's AVX2 code rounds it.
 *
 * Eight uniforms make radii, the next eight make angles; the cosines land in the first half of the block, the sines in the second. torch
 * evaluates log, sin and cos as float32 polynomials (Cephes) whose multiply-adds the compiler fused. Here `fround(a * b + c)` is one
 * fused multiply-add: the product of two float32 numbers is exact in a double. (Sum and result round twice, which could differ from
 * the processor about once in 2^29 operations.) All intermediate values are float32, so plain products are rounded with `fround` too.
 * Source: torch ATen/native/cpu/DistributionTemplates.h and avx_mathfun.h@2.13.0, as GCC 13 contracts it. Without AVX2, torch calls
 * the C library instead and differs in the last bits: torch-generator.ts says by how much.
 */

const f = Math.fround;

const TWO_PI = f(2 * Math.PI);
const FOUR_OVER_PI = f(4 / Math.PI);

const SQRT_HALF = f(Math.SQRT1_2);
const LN2_HIGH = 0.693359375;
const LN2_LOW = f(-2.1219444e-4);
const LOG_0 = f(7.0376836292e-2);
const LOG_1 = f(-1.151461031e-1);
const LOG_2 = f(1.167699874e-1);
const LOG_3 = f(-1.2420140846e-1);
const LOG_4 = f(1.4249322787e-1);
const LOG_5 = f(-1.6668057665e-1);
const LOG_6 = f(2.0000714765e-1);
const LOG_7 = f(-2.4999993993e-1);
const LOG_8 = f(3.3333331174e-1);

const PI_4_HIGH = f(-0.78515625);
const PI_4_MIDDLE = f(-2.4187564849853516e-4);
const PI_4_LOW = f(-3.774894977445941e-8);
const SIN_0 = f(-1.9515295891e-4);
const SIN_1 = f(8.3321608736e-3);
const SIN_2 = f(-1.6666654611e-1);
const COS_0 = f(2.443315711809948e-5);
const COS_1 = f(-1.388731625493765e-3);
const COS_2 = f(4.166664568298827e-2);

const scratch = new Float32Array(1);
const scratchBits = new Int32Array(scratch.buffer);

/** Turns the 16 uniforms in [0, 1) that start at `offset` into 16 normal numbers, in place. */
export function normalizeBlock(data: Float32Array, offset: number): void {
  for (let i = offset; i < offset + 8; i++) {
    const radius = f(Math.sqrt(-2 * logarithm(1 - (data[i] as number))));
    const theta = f(TWO_PI * (data[i + 8] as number));

    // Reduce the angle to within pi/4 of a multiple of pi/2.
    const octant = (f(theta * FOUR_OVER_PI) + 1) & ~1;
    let x = f(octant * PI_4_HIGH + theta);
    x = f(octant * PI_4_MIDDLE + x);
    x = f(octant * PI_4_LOW + x);

    const z = f(x * x);
    let cosine = f(COS_0 * z + COS_1);
    cosine = f(cosine * z + COS_2);
    cosine = f(f(cosine * z) * z - z * 0.5);
    cosine = f(cosine + 1);
    let sine = f(SIN_0 * z + SIN_1);
    sine = f(sine * z + SIN_2);
    sine = f(f(sine * z) * x + x);

    if (octant & 2) {
      const swap = cosine;
      cosine = octant & 4 ? sine : -sine;
      sine = octant & 4 ? -swap : swap;
    } else if (octant & 4) {
      cosine = -cosine;
      sine = -sine;
    }
    // Adding the mean of 0 turns -0 into 0.
    data[i] = f(radius * cosine) + 0;
    data[i + 8] = f(radius * sine) + 0;
  }
}

/** Natural logarithm of a float32 number in (0, 1]. */
function logarithm(value: number): number {
  scratch[0] = value;
  const bits = scratchBits[0] as number;
  scratchBits[0] = (bits & 0x7fffff) | 0x3f000000;
  let x = scratch[0] as number; // mantissa in [0.5, 1)
  let exponent = (bits >>> 23) - 126;
  if (x < SQRT_HALF) {
    exponent -= 1;
    x = f(x - 1 + x);
  } else {
    x = f(x - 1);
  }
  const z = f(x * x);
  let y = f(LOG_0 * x + LOG_1);
  y = f(y * x + LOG_2);
  y = f(y * x + LOG_3);
  y = f(y * x + LOG_4);
  y = f(y * x + LOG_5);
  y = f(y * x + LOG_6);
  y = f(y * x + LOG_7);
  y = f(y * x + LOG_8);
  y = f(f(y * x) * z + f(exponent * LN2_LOW));
  y = f(y - z * 0.5);
  return f(exponent * LN2_HIGH + f(x + y));
}
