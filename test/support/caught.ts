/** Runs what must fail and returns what a user would see of it, so that a test pins class, sentence, place and hint at once. */
import { HalftoneError } from "../../src/errors.ts";

export interface Caught {
  readonly kind: string;
  readonly message: string;
  readonly where?: string;
  readonly hint?: string;
}

/** Returns the error of a function or promise; anything but a HalftoneError, or no error at all, fails the test. */
export async function caught(work: Promise<unknown> | (() => unknown)): Promise<Caught> {
  let result: unknown;
  try {
    result = await (typeof work === "function" ? work() : work);
  } catch (error) {
    if (!(error instanceof HalftoneError)) throw error;
    const { name, message, where, hint } = error;
    return { kind: name, message, ...(where === undefined ? {} : { where }), ...(hint === undefined ? {} : { hint }) };
  }
  throw new Error(`expected an error, got ${JSON.stringify(result)}`);
}
