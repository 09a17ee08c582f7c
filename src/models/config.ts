/** Schema pieces that the models' configs share. */
import * as v from "valibot";

/** An integer from 1 up. */
export const positiveInteger = v.pipe(v.number(), v.integer(), v.minValue(1));

/** A finite number above 0. */
export const positiveNumber = v.pipe(v.number(), v.finite(), v.gtValue(0));
