/**
 * From the numbers of a weight to the tensors that take its place, block by block: a caller reads the groups of a block, quantizes them,
 * writes the bytes where they belong, and never holds more. Blocks depend on nothing but their own groups, so they can be worked on in any
 * order and by several workers. (hqq looks at the whole weight, which is then a single block.)
 *
 *     for (const block of splitWeight(layout, 2 ** 20)) placeBlock(layout, block, quantizeBlock(layout, block, read(block.runs), dtype), whole)
 */
import { fromFloat32 } from "../tensor/convert.ts";
import { type DType, elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { optimizeShift } from "./hqq.ts";
import type { Kernel } from "./kernel/kernel.ts";
import { packCodes, packInPlace } from "./pack.ts";
import { affineParameters, centredShift, encodeAffine, encodeGroups, findRanges } from "./quantize-affine.ts";
import { encodeSymmetric, findScales } from "./quantize-symmetric.ts";
import { groupsOf, loadRuns, notFinite, type Piece, piecesOf, readRuns, type StoredBlock } from "./stored-block.ts";
import { layOutWeight, splitWeight, type TensorLayout, type WeightBlock, type WeightLayout, type WeightSpec } from "./weight-layout.ts";

/** A tensor of a quantized weight. */
export interface QuantizedTensor extends TensorLayout {
  /** Little-endian and row-major, as a file stores them. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The tensors that take a weight's place. */
export interface QuantizedWeight {
  readonly data: QuantizedTensor;
  readonly scale: QuantizedTensor;
  readonly shift: QuantizedTensor | undefined;
}

/** What a block adds: rows of data, and scale and shift of its groups, run after run. */
export interface QuantizedBlock {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly scale: Float32Array;
  readonly shift: Float32Array | undefined;
}

/**
 * Quantizes one block of a weight; `stored` holds the groups of its runs, one run after another, as the file has them.
 *
 * Errors: CheckpointError when a number is not finite in the weight's dtype: Quanto would spoil the whole row.
 */
export function quantizeBlock(layout: WeightLayout, block: WeightBlock, stored: Uint8Array, storedDType: DType): QuantizedBlock {
  const source = { layout, block, bytes: stored, dtype: storedDType };
  if (layout.perColumn) return quantizeColumns(source);
  return layout.optimizer === "hqq" ? quantizeWithHqq(source) : quantizePieces(source);
}

/** Makes room for a quantized weight; any of its blocks tells the shape of the shift. */
export function allocateWeight(layout: WeightLayout, block: QuantizedBlock): QuantizedWeight {
  const tensor = (part: TensorLayout, shape = part.shape) => {
    const bytes = new Uint8Array(elementCount(shape) * elementSizeBytes(part.dtype));
    return { ...part, shape, bytes };
  };
  return { data: tensor(layout.data), scale: tensor(layout.scale), shift: layout.shift && tensor(layout.shift, shiftShape(layout, block)) };
}

/** The shape of the whole shift, by one block: the layout's, or [out, in, height, 1] for an unsplit convolution that hqq has improved. */
function shiftShape(layout: WeightLayout, { scale, shift }: QuantizedBlock): readonly number[] | undefined {
  return shift === undefined || shift.length === scale.length ? layout.shift?.shape : [...layout.shape.slice(0, -1), 1];
}

/** Copies scale or shift of a block's groups, as the block has them, to where the whole tensor has them. */
export function placeParameters(layout: WeightLayout, block: WeightBlock, from: Float32Array, into: QuantizedTensor): void {
  const bytes = fromFloat32(from, layout.dtype);
  const bytesPerGroup = bytes.length / groupsOf(block.runs);
  let taken = 0;
  for (const run of block.runs) {
    into.bytes.set(bytes.subarray(taken * bytesPerGroup, (taken + run.groups) * bytesPerGroup), run.firstGroup * bytesPerGroup);
    taken += run.groups;
  }
}

/** Copies a quantized block to where the whole weight has it. */
export function placeBlock(layout: WeightLayout, block: WeightBlock, part: QuantizedBlock, whole: QuantizedWeight): void {
  whole.data.bytes.set(part.data, block.firstRow * layout.groupLength);
  placeParameters(layout, block, part.scale, whole.scale);
  if (part.shift !== undefined && whole.shift !== undefined) placeParameters(layout, block, part.shift, whole.shift);
}

/**
 * Quantizes a whole weight that is in memory, as numbers or as the bytes of a file.
 *
 * Errors: those of layOutWeight and quantizeBlock.
 */
export function quantizeWeight(values: Float32Array | Uint8Array, spec: WeightSpec, storedDType: DType = "float32"): QuantizedWeight {
  const layout = layOutWeight(spec);
  const stored = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const groupBytes = layout.groupLength * elementSizeBytes(storedDType);
  let whole: QuantizedWeight | undefined;
  for (const block of splitWeight(layout, 2 ** 20)) {
    const runs = block.runs.map(({ firstGroup, groups }) => stored.subarray(firstGroup * groupBytes, (firstGroup + groups) * groupBytes));
    const part = quantizeBlock(layout, block, joined(runs), storedDType);
    whole ??= allocateWeight(layout, part);
    placeBlock(layout, block, part, whole);
  }
  return whole as QuantizedWeight;
}

function joined(runs: readonly Uint8Array[]): Uint8Array {
  if (runs.length === 1) return runs[0] as Uint8Array;
  const all = new Uint8Array(runs.reduce((sum, run) => sum + run.length, 0));
  let at = 0;
  for (const run of runs) {
    all.set(run, at);
    at += run.length;
  }
  return all;
}

function quantizePieces(source: StoredBlock): QuantizedBlock {
  const { layout, block } = source;
  const result = makeRoom(source);
  for (const piece of piecesOf(layout, block)) {
    const kernel = loadRuns(source, piece.runs);
    findParameters(source, piece, kernel, result);
    encodePiece(layout, piece, kernel, result.data);
  }
  const { scale, shift } = result;
  if (!layout.centred) return result;
  return { ...result, shift: shift?.map((value, group) => centredShift({ scale: scale[group] as number, shift: value })) };
}

/** Goes through the block once for the ranges, as often as hqq wants for the shifts, and once for the codes. */
function quantizeWithHqq(source: StoredBlock): QuantizedBlock {
  const { layout, block } = source;
  const { data, scale, shift } = makeRoom(source);
  for (const piece of piecesOf(layout, block)) findParameters(source, piece, loadRuns(source, piece.runs), { scale, shift });
  const moved = optimizeShift(layout, (firstGroup, groups) => readRuns(source, [{ firstGroup, groups }]), scale, shift as Float32Array);
  for (const piece of piecesOf(layout, block)) {
    const values = readRuns(source, piece.runs);
    const codes = new Uint8Array(values.length);
    encodeGroups(layout, values, ofRuns(scale, piece, block), ofRuns(moved, piece, block), codes);
    data.set(packCodes(codes, layout.groupLength, layout.qtype.bits as 4 | 2), piece.firstRow * layout.groupLength);
  }
  return { data, scale, shift: moved };
}

function makeRoom({ layout, block }: StoredBlock): QuantizedBlock {
  const groups = groupsOf(block.runs);
  return {
    data: new Uint8Array(block.rows * layout.groupLength),
    scale: new Float32Array(groups),
    shift: layout.qtype.bits === 8 ? undefined : new Float32Array(groups),
  };
}

/** Finds scales, and shifts, of the piece that is in the kernel; leaves them there and copies them. */
function findParameters(
  source: StoredBlock,
  { runs }: Piece,
  kernel: Kernel,
  { scale, shift }: Pick<QuantizedBlock, "scale" | "shift">,
): void {
  const { groupLength, qtype, dtype } = source.layout;
  const find = shift === undefined ? findScales : findRanges;
  if (!find(kernel, groupsOf(runs), groupLength, qtype, dtype)) throw notFinite(source, runs);
  let taken = 0;
  for (const { firstGroup, groups } of runs) {
    scale.set(kernel.scales.subarray(taken, taken + groups), firstGroup);
    shift?.set(kernel.shifts.subarray(taken, taken + groups), firstGroup);
    taken += groups;
  }
}

/** Turns the piece that is in the kernel, with its scales and shifts, into bytes. */
function encodePiece({ groupLength, qtype, dtype }: WeightLayout, { firstRow, rows, runs }: Piece, kernel: Kernel, data: Uint8Array): void {
  const groups = groupsOf(runs);
  if (qtype.bits === 8) {
    encodeSymmetric(kernel, groups, groupLength, qtype, dtype);
  } else {
    encodeAffine(kernel, groups, groupLength, qtype, dtype);
    packInPlace(kernel, groups, groupLength, qtype.bits);
  }
  data.set(kernel.codes.subarray(0, rows * groupLength), firstRow * groupLength);
}

/** Scales or shifts of a piece's groups; hqq may have several shifts per group. */
function ofRuns(parameters: Float32Array, { runs }: Piece, block: WeightBlock): Float32Array {
  const perGroup = parameters.length / groupsOf(block.runs);
  const own = new Float32Array(groupsOf(runs) * perGroup);
  let at = 0;
  for (const { firstGroup, groups } of runs) {
    own.set(parameters.subarray(firstGroup * perGroup, (firstGroup + groups) * perGroup), at);
    at += groups * perGroup;
  }
  return own;
}

/** Quanto takes the range of a single row over all axes but the last; a row of a matrix is then its own shift, and loses nothing. */
function quantizeColumns(source: StoredBlock): QuantizedBlock {
  const { groupLength, shape, qtype, dtype } = source.layout;
  const all = [{ firstGroup: 0, groups: 1 }];
  const columns = shape.at(-1) as number;
  const values = transpose(readRuns(source, all), columns);
  if (!values.every(Number.isFinite)) throw notFinite(source, all);
  const [scale, shift] = [new Float32Array(columns), new Float32Array(columns)];
  for (let column = 0; column < columns; column++) {
    const { min, max } = extremes(values.subarray((column * groupLength) / columns, ((column + 1) * groupLength) / columns));
    const found = affineParameters(min, max, qtype, dtype);
    scale[column] = found.scale;
    shift[column] = found.shift;
  }
  const codes = new Uint8Array(groupLength);
  encodeGroups(source.layout, values, scale, shift, codes);
  return { data: transpose(codes, groupLength / columns), scale, shift };
}

/** Transposes a matrix with so many columns. */
function transpose<A extends Float32Array | Uint8Array>(matrix: A, columns: number): A {
  const rows = matrix.length / columns;
  return matrix.map((_, i) => matrix[(i % rows) * columns + Math.floor(i / rows)] as number) as A;
}

/** The smallest and the largest number, the first of equals. */
function extremes(values: Float32Array): { min: number; max: number } {
  let min = values[0] as number;
  let max = min;
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { min, max };
}
