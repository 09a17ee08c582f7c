/**
 * A block of a weight as its file has it, and how it comes into the kernel's memory: piece by piece, each small enough for a core's own cache.
 *
 * A piece is to a block what a block is to a weight: some rows of the data, and the groups that they hold, in as many runs as codes share a
 * byte. Groups are counted in the order in which the block has them, run after run.
 */
import { quote, shapeText } from "../checkpoint/stored-tensor.ts";
import { CheckpointError } from "../errors.ts";
import { toFloat32 } from "../tensor/convert.ts";
import { type DType, elementSizeBytes } from "../tensor/dtype.ts";
import { DTYPE_NUMBER, type Kernel, kernelFor } from "./kernel/kernel.ts";
import { codesPerByte } from "./pack.ts";
import type { GroupRun, WeightBlock, WeightLayout } from "./weight-layout.ts";

/** The groups of a block, one run after another. */
export interface StoredBlock {
  readonly layout: WeightLayout;
  readonly block: WeightBlock;
  readonly bytes: Uint8Array;
  readonly dtype: DType;
}

/** Some rows of a block; `firstRow` and the groups of the runs count from the block's first. */
export type Piece = WeightBlock;

/** Weights of a piece: 64 KiB of float32, unless a row is longer. */
const WEIGHTS_PER_PIECE = 16 * 1024;

/** How many groups some runs have. */
export function groupsOf(runs: readonly GroupRun[]): number {
  return runs.reduce((sum, { groups }) => sum + groups, 0);
}

/** Cuts a block into pieces. */
export function* piecesOf({ groupLength, qtype }: WeightLayout, block: WeightBlock): Generator<Piece> {
  const step = Math.max(1, Math.floor(WEIGHTS_PER_PIECE / groupLength / codesPerByte(qtype.bits)));
  for (let firstRow = 0; firstRow < block.rows; firstRow += step) {
    const rows = Math.min(step, block.rows - firstRow);
    const runs = block.runs.map(({ groups }, part) => ({
      firstGroup: part * block.rows + firstRow,
      groups: Math.max(0, Math.min(rows, groups - firstRow)),
    }));
    yield { firstRow, rows, runs };
  }
}

/** Puts the weights of some runs into the kernel's memory, in the weight's dtype, with room to pack: as if all runs were of one length. */
export function loadRuns({ layout, bytes, dtype }: StoredBlock, runs: readonly GroupRun[]): Kernel {
  const { groupLength } = layout;
  const longest = Math.max(...runs.map(({ groups }) => groups));
  const kernel = kernelFor(longest * codesPerByte(layout.qtype.bits) * groupLength, groupsOf(runs));
  const groupBytes = groupLength * elementSizeBytes(dtype);
  const isHalf = dtype === "float16" || dtype === "bfloat16";
  let group = 0;
  for (const { firstGroup, groups } of runs) {
    const part = bytes.subarray(firstGroup * groupBytes, (firstGroup + groups) * groupBytes);
    if (isHalf) kernel.stored.set(part, group * groupBytes);
    else kernel.values.set(toFloat32(part, dtype), group * groupLength);
    group += groups;
  }
  if (dtype === "float16") kernel.widenFloat16(group * groupLength);
  if (dtype === "bfloat16") kernel.widenBfloat16(group * groupLength);
  if (dtype !== layout.dtype && layout.dtype !== "float32") kernel.roundValues(group * groupLength, DTYPE_NUMBER[layout.dtype]);
  return kernel;
}

/** The weights of some runs, in fresh memory. */
export function readRuns(source: StoredBlock, runs: readonly GroupRun[]): Float32Array {
  return loadRuns(source, runs).values.slice(0, groupsOf(runs) * source.layout.groupLength);
}

/** Says which number of some runs, all of them or those of a piece, is not finite, and whether it was so in the file. */
export function notFinite(source: StoredBlock, runs: readonly GroupRun[]): CheckpointError {
  const { layout, bytes, dtype } = source;
  const wrong = readRuns(source, runs).findIndex((value) => !Number.isFinite(value));
  const at = within(runs, wrong, layout.groupLength);
  const itemBytes = elementSizeBytes(dtype);
  const value = toFloat32(bytes.subarray(at * itemBytes, (at + 1) * itemBytes), dtype)[0] as number;
  const found = `weight ${quote(layout.name)} holds ${value} at ${shapeText(placeOf(source, at))}`;
  if (Number.isFinite(value)) {
    return new CheckpointError(`${found}, which ${layout.dtype} cannot hold, expected finite numbers to quantize`, {
      hint: "load the model in float32 or bfloat16, or exclude the module",
    });
  }
  return new CheckpointError(`${found}, expected finite numbers to quantize`, {
    hint: "the file may be damaged: get it again, or exclude the module",
  });
}

/** Indices, in the whole weight, of the weight at a place in a block. */
function placeOf({ layout, block }: StoredBlock, at: number): number[] {
  let index = within(block.runs, at, layout.groupLength);
  return layout.shape.reduceRight<number[]>((place, dim) => {
    place.unshift(index % dim);
    index = Math.floor(index / dim);
    return place;
  }, []);
}

/** Where a weight lies in what runs are runs of, by its place in the runs. */
function within(runs: readonly GroupRun[], at: number, groupLength: number): number {
  const groups = runs.flatMap((run) => Array.from({ length: run.groups }, (_, i) => run.firstGroup + i));
  return (groups[Math.floor(at / groupLength)] as number) * groupLength + (at % groupLength);
}
