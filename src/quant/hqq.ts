/**
 * Half-quadratic quantization of 4- and 2-bit weights: keeps the scales and moves the shifts so that large errors count for less than in
 * least squares, for as long as the mean error of the whole weight falls, 20 times at most.
 *
 * Each round needs the whole weight but keeps only its shifts: what a group is like under a shift is worked out anew. torch sums in an order
 * that depends on the processor, so a shift may differ by a few units in its last place.
 *
 * Source: optimum-quanto tensor/optimizers/hqq_optimizer.py@0.2.7; differs: means are summed in float64, powers are taken in float64.
 */
import type { ComputeDType } from "../tensor/dtype.ts";
import { sumFloat32 } from "./float32-sum.ts";
import type { QType } from "./qtype.ts";
import { encodeGroups } from "./quantize-affine.ts";
import { roundTo, roundValues } from "./rounding.ts";

const LP_NORM = 0.7;
const BETA = 10;
const KAPPA = 1.01;
const ROUNDS = 20;
const WEIGHTS_AT_A_TIME = 16 * 1024;

/** What the search needs to know of a weight. */
export interface HqqWeight {
  readonly shape: readonly number[];
  readonly dtype: ComputeDType;
  readonly qtype: QType;
  readonly groupSize: number | undefined;
  readonly groups: number;
  readonly groupLength: number;
}

/**
 * Returns the shifts that hqq ends with: one per group, or, for a convolution whose rows are not split, one per run of its last axis as soon
 * as the first round improves anything (Quanto takes its mean over that axis alone). `read` gives groups as float32 in the weight's dtype.
 */
export function optimizeShift(
  weight: HqqWeight,
  read: (group: number, groups: number) => Float32Array,
  scale: Float32Array,
  start: Float32Array,
): Float32Array {
  let best = start;
  let beta = BETA;
  let round = evaluate(weight, read, scale, start, beta);
  let bestError = round.meanError;
  for (let i = 0; i < ROUNDS; i++) {
    const candidate = round.next;
    beta = i === 0 ? BETA * KAPPA : beta * KAPPA;
    round = evaluate(weight, read, scale, candidate, beta);
    if (!(round.meanError < bestError)) break;
    bestError = round.meanError;
    best = candidate;
  }
  return best;
}

/** The mean error under a shift, and the shift of the next round. */
function evaluate(
  weight: HqqWeight,
  read: (group: number, groups: number) => Float32Array,
  scale: Float32Array,
  shift: Float32Array,
  beta: number,
): { meanError: number; next: Float32Array } {
  const { dtype, groups, groupLength } = weight;
  const partLength = weight.groupSize ?? (weight.shape.at(-1) as number);
  const next = new Float32Array((groups * groupLength) / partLength);
  const step = Math.max(1, Math.floor(WEIGHTS_AT_A_TIME / groupLength));
  const scratch = makeScratch(step * groupLength);
  const shrink = shrinking(beta, dtype);
  let sum = 0;
  for (let group = 0; group < groups; group += step) {
    const count = Math.min(step, groups - group);
    const values = read(group, count);
    const shifts = part(shift, group, count, groups);
    sum += errorsOf(weight, values, scale.subarray(group, group + count), shifts, scratch, shrink);
    meansOf(scratch.residues, values.length, partLength, dtype, part(next, group, count, groups));
  }
  return { meanError: roundTo(Math.fround(sum) / (groups * groupLength), dtype), next };
}

function part(parameters: Float32Array, group: number, count: number, groups: number): Float32Array {
  const perGroup = parameters.length / groups;
  return parameters.subarray(group * perGroup, (group + count) * perGroup);
}

interface Scratch {
  readonly codes: Uint8Array;
  readonly errors: Float32Array;
  /** code * scale - (w - e), of which the next shift is the mean. */
  readonly residues: Float32Array;
}

function makeScratch(length: number): Scratch {
  return { codes: new Uint8Array(length), errors: new Float32Array(length), residues: new Float32Array(length) };
}

/** Fills the residues; returns the sum of the absolute errors. Every operation is rounded to the dtype by itself. */
function errorsOf(
  weight: HqqWeight,
  values: Float32Array,
  scale: Float32Array,
  shift: Float32Array,
  { codes, errors, residues }: Scratch,
  shrink: Shrinkage,
): number {
  const { dtype, groupLength } = weight;
  const count = values.length;
  encodeGroups(weight, values, scale, shift, codes);
  for (let group = 0, i = 0; group < scale.length; group++) {
    const step = scale[group] as number;
    for (const end = i + groupLength; i < end; i++) residues[i] = (codes[i] as number) * step;
  }
  roundValues(residues, count, dtype);
  const partLength = count / shift.length;
  for (let part = 0, i = 0; part < shift.length; part++) {
    const offset = shift[part] as number;
    for (const end = i + partLength; i < end; i++) errors[i] = (residues[i] as number) - offset;
  }
  roundValues(errors, count, dtype);
  for (let i = 0; i < count; i++) errors[i] = (values[i] as number) - (errors[i] as number);
  roundValues(errors, count, dtype);
  let sum = 0;
  for (let i = 0; i < count; i++) {
    const error = errors[i] as number;
    const magnitude = Math.abs(error);
    sum += magnitude;
    errors[i] = magnitude <= shrink.edge ? (values[i] as number) : (values[i] as number) - shrink.apply(error);
  }
  roundValues(errors, count, dtype);
  for (let i = 0; i < count; i++) residues[i] = (residues[i] as number) - (errors[i] as number);
  roundValues(residues, count, dtype);
  return sum;
}

function meansOf(values: Float32Array, count: number, length: number, dtype: ComputeDType, out: Float32Array): void {
  for (let start = 0; start < count; start += length) {
    out[start / length] = roundTo(Math.fround(sumFloat32(values, start, length) / length), dtype);
  }
}

/** sign(x) * relu(|x| - |x|^(p - 1) / beta), which is 0 up to where |x|^(2 - p) is 1 / beta; few errors are larger. */
interface Shrinkage {
  /** A little below that place, since roundings may move it. */
  readonly edge: number;
  apply(error: number): number;
}

function shrinking(beta: number, dtype: ComputeDType): Shrinkage {
  const factor = 1 / beta;
  const exponent = roundTo(LP_NORM - 1, dtype);
  const apply = (error: number) => {
    const magnitude = Math.abs(error);
    const penalty = roundTo(roundTo(magnitude ** exponent, dtype) * factor, dtype);
    const rest = roundTo(magnitude - penalty, dtype);
    return Math.sign(error) * Math.max(rest, 0);
  };
  return { edge: 0.98 * factor ** (1 / (2 - LP_NORM)), apply };
}
