/** Schema pieces that the models' configs share. */
import * as v from "valibot";

/** An integer from 1 up; no width or count of a model that fits a machine is above 2^24. */
export const positiveInteger = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(2 ** 24));

/** A number of layers: each becomes nodes of a graph, so a mistaken one must not fill the memory. */
export const layerCount = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1000));

/** A finite number above 0. */
export const positiveNumber = v.pipe(v.number(), v.finite(), v.gtValue(0));
