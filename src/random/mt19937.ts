/**
 * The Mersenne Twister as torch's CPU generator runs it: 624 words of state, twisted all at once, tempered one at a time.
 *
 * One 32-bit word makes a float32 uniform (its low 24 bits), two make a float64 uniform (the low 53 bits of high word, low word). Nothing
 * is thrown away, so a generator's place in the stream is the number of words drawn.
 * Source: torch ATen/core/MT19937RNGEngine.h and TransformationHelper.h@2.13.0; differs: keeps no `left` counter beside the position.
 */

const WORDS = 624;
const SHIFT = 397;

/** A stream of 32-bit words that depends on its 32-bit seed alone. */
export class Mt19937 {
  readonly #state = new Int32Array(WORDS);
  #position = WORDS;

  constructor(seed32: number) {
    const state = this.#state;
    let word = seed32 | 0;
    state[0] = word;
    for (let j = 1; j < WORDS; j++) {
      word = (Math.imul(1812433253, word ^ (word >>> 30)) + j) | 0;
      state[j] = word;
    }
  }

  /** The next word, as a signed 32-bit integer. */
  nextInt32(): number {
    if (this.#position === WORDS) this.#twistAll();
    let word = this.#state[this.#position++] as number;
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return word ^ (word >>> 18);
  }

  /** A uniform number in [0, 1) with 24 random bits. */
  nextFloat32(): number {
    return (this.nextInt32() & 0xffffff) * 2 ** -24;
  }

  /** A uniform number in [0, 1) with 53 random bits. */
  nextFloat64(): number {
    const high = this.nextInt32() & 0x1fffff;
    const low = this.nextInt32() >>> 0;
    return (high * 2 ** 32 + low) * 2 ** -53;
  }

  #twistAll(): void {
    const state = this.#state;
    for (let i = 0; i < WORDS; i++) {
      const next = state[i + 1 < WORDS ? i + 1 : 0] as number;
      const far = state[i + SHIFT < WORDS ? i + SHIFT : i + SHIFT - WORDS] as number;
      const mixed = ((state[i] as number) & 0x80000000) | (next & 0x7fffffff);
      state[i] = far ^ (mixed >>> 1) ^ (next & 1 ? 0x9908b0df : 0);
    }
    this.#position = 0;
  }
}
