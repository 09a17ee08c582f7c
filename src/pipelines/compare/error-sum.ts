/** The relative RMS error of several tensors together: rms(got - want) / rms(base), where the base is `want` unless told. */

/** Adds up squares. */
export class ErrorSum {
  #differences = 0;
  #base = 0;

  /** Adds a tensor. */
  add(got: ArrayLike<number>, want: ArrayLike<number>, base: ArrayLike<number> = want): void {
    for (let i = 0; i < want.length; i++) {
      this.#differences += ((got[i] as number) - (want[i] as number)) ** 2;
      this.#base += (base[i] as number) ** 2;
    }
  }

  /** The error so far; 0 where there is no difference, even against a base of zeros. */
  relative(): number {
    return this.#differences === 0 ? 0 : Math.sqrt(this.#differences / this.#base);
  }
}
