/**
 * What becomes of a weight: its groups, the shapes and dtypes of the tensors that take its place, and how it can be worked on in blocks.
 *
 * The weight is seen as a matrix of groups, `[groups, groupLength]`, in the order in which it is stored. A group is a run of weights with
 * one scale: an output row, or an equal part of one. 8 bits: a row of codes per group. 4 and 2 bits: a row of bytes holds 2 or 4 groups
 * that lie far apart, so a block of such rows needs as many runs of groups.
 *
 * Source: optimum-quanto nn/qmodule.py, tensor/grouped.py, tensor/optimizers/@0.2.7.
 */
import { quote, shapeText } from "../checkpoint/stored-tensor.ts";
import { nearestWord, UnsupportedError, UsageError } from "../errors.ts";
import type { ComputeDType, DType } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { groupSizeOf } from "./group-size.ts";
import { codesPerByte, packedRows } from "./pack.ts";
import type { QType } from "./qtype.ts";

/** How scales and shifts are found: `absmax` for 8 bits; `max` or `hqq` for 4 and 2. */
export type OptimizerName = "absmax" | "max" | "hqq";

/** A weight and what is wanted of it. */
export interface WeightSpec {
  /** Full name, for messages: "transformer_blocks.3.attn1.to_q.weight". */
  readonly name: string;
  readonly shape: readonly number[];
  /** The dtype that everything is calculated in; stored numbers are rounded to it first. */
  readonly dtype: ComputeDType;
  readonly qtype: QType;
  /** absmax for 8 bits and max for fewer unless told. */
  readonly optimizer?: OptimizerName | undefined;
}

/** A tensor of the quantized weight, without its numbers. */
export interface TensorLayout {
  /** What follows `<module>.weight.` in a file: "_data", "_data._data", "_scale" or "_shift". */
  readonly key: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A weight's groups and the tensors that take its place. */
export interface WeightLayout extends Required<WeightSpec> {
  /** Weights per group where rows are split; undefined where a row is one group. Quanto's loader derives the same. */
  readonly groupSize: number | undefined;
  readonly groups: number;
  readonly groupLength: number;
  /** Rows of groupLength bytes in the data. */
  readonly dataRows: number;
  readonly data: TensorLayout;
  readonly scale: TensorLayout;
  /** Of 4 and 2 bits. HQQ may change the shape of an unsplit convolution's shift to [out, in, height, 1]. */
  readonly shift: TensorLayout | undefined;
  /** A single unsplit row of 4 or 2 bits has a scale for every index of its last axis, not one for the row. */
  readonly perColumn: boolean;
  /** bfloat16 qint4 groups of 128 in a matrix, whose shift Quanto passes through the middle of the range. */
  readonly centred: boolean;
}

/**
 * Says what a weight becomes.
 *
 * Errors: UsageError for an optimizer that does not fit the qtype; UnsupportedError for weights that Quanto cannot quantize either.
 */
export function layOutWeight(spec: WeightSpec): WeightLayout {
  const { shape, dtype, qtype } = spec;
  const optimizer = spec.optimizer ?? (qtype.bits === 8 ? "absmax" : "max");
  checkOptimizer(optimizer, qtype);
  const count = elementCount(shape);
  if (shape.length < 2 || count === 0) {
    throw new UnsupportedError(
      `weight ${quote(spec.name)} has shape ${shapeText(shape)}, expected two or more axes with elements to quantize`,
    );
  }
  const groupSize = groupSizeOf(shape, qtype);
  const groupLength = groupSize ?? count / (shape[0] as number);
  const groups = count / groupLength;
  const matrix = groupSize === undefined ? shape : [groups, groupSize];
  const ones = matrix.slice(1).map(() => 1);
  const perRow = [groups, ...ones];
  const layout = { ...spec, optimizer, groupSize, groups, groupLength, perColumn: false, centred: false };
  if (qtype.bits === 8) {
    const data = { key: "_data", dtype: qtype.storedDType, shape };
    return { ...layout, dataRows: groups, data, scale: { key: "_scale", dtype, shape: groups === 1 ? [] : perRow }, shift: undefined };
  }
  const perColumn = groups === 1;
  const centred = qtype.bits === 4 && dtype === "bfloat16" && groupSize === 128 && shape.length === 2;
  refuseAsQuanto(spec, optimizer, perColumn, centred);
  const dataRows = packedRows(groups, qtype.bits);
  const parameter = perColumn ? [...ones, shape.at(-1) as number] : perRow;
  return {
    ...layout,
    dataRows,
    data: { key: "_data._data", dtype: "uint8", shape: [dataRows, ...matrix.slice(1)] },
    scale: { key: "_scale", dtype, shape: parameter },
    shift: { key: "_shift", dtype, shape: parameter },
    perColumn,
    centred,
  };
}

/**
 * Checks that an optimizer is known and fits a qtype.
 *
 * Errors: UsageError.
 */
export function checkOptimizer(optimizer: string, qtype: QType): asserts optimizer is OptimizerName {
  const known = ["absmax", "max", "hqq"];
  if (!known.includes(optimizer)) {
    const near = nearestWord(optimizer, known);
    const hint = near === undefined ? undefined : `did you mean ${near}?`;
    throw new UsageError(`optimizer must be one of ${known.join(", ")}, got ${JSON.stringify(optimizer)}`, { hint });
  }
  const fitting = qtype.bits === 8 ? ["absmax"] : ["max", "hqq"];
  if (fitting.includes(optimizer)) return;
  throw new UsageError(`optimizer for ${qtype.name} must be ${fitting.join(" or ")}, got ${JSON.stringify(optimizer)}`, {
    hint: "absmax is for 8-bit qtypes, max and hqq are for qint4 and qint2",
  });
}

function refuseAsQuanto({ name, shape }: WeightSpec, optimizer: OptimizerName, perColumn: boolean, centred: boolean): void {
  if (optimizer === "hqq" && perColumn) {
    throw new UnsupportedError(`weight ${quote(name)} of shape ${shapeText(shape)} has a single row, which hqq cannot quantize`, {
      hint: "exclude its module, or use the optimizer max",
    });
  }
  if (centred && (shape[0] as number) % 16 !== 0) {
    throw new UnsupportedError(
      `weight ${quote(name)} has ${shape[0]} rows, but bfloat16 qint4 in groups of 128 needs a multiple of 16 to be loaded by Quanto on a CPU`,
      { hint: "exclude its module, or use another dtype or qtype for it" },
    );
  }
}

/** A run of consecutive groups. */
export interface GroupRun {
  readonly firstGroup: number;
  readonly groups: number;
}

/** A part of a weight that can be quantized by itself. */
export interface WeightBlock {
  /** Where its bytes begin in the data, in rows, and how many rows they are. */
  readonly firstRow: number;
  readonly rows: number;
  /** The groups that it needs, in the order in which a quantizer takes them. */
  readonly runs: readonly GroupRun[];
}

/**
 * Splits a weight into blocks of about so many weights, or into one where it cannot be split (hqq looks at the whole weight).
 */
export function* splitWeight(layout: WeightLayout, weightsPerBlock: number): Generator<WeightBlock> {
  const { dataRows, groups, groupLength, qtype, optimizer } = layout;
  const wanted = Math.max(1, Math.floor(weightsPerBlock / groupLength / codesPerByte(qtype.bits)));
  const step = optimizer === "hqq" || layout.perColumn ? dataRows : wanted;
  for (let firstRow = 0; firstRow < dataRows; firstRow += step) {
    const rows = Math.min(step, dataRows - firstRow);
    const runs: GroupRun[] = [];
    for (let firstGroup = firstRow; firstGroup < groups; firstGroup += dataRows) {
      runs.push({ firstGroup, groups: Math.min(rows, groups - firstGroup) });
    }
    yield { firstRow, rows, runs };
  }
}
