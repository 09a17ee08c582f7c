/**
 * From the numbers of a weight to the tensors that take its place, block by block: a caller reads the groups of a block, quantizes them,
 * writes the bytes where they belong, and never holds more. Blocks depend on nothing but their own groups, so they can be worked on in any
 * order and by several workers. (hqq looks at the whole weight, which is then a single block.)
 *
 *     for (const block of splitWeight(layout, 2 ** 20)) placeBlock(layout, block, quantizeBlock(layout, block, read(block.runs), dtype), whole)
 */
import { quote, shapeText } from "../checkpoint/stored-tensor.ts";
import { CheckpointError } from "../errors.ts";
import { fromFloat32, roundToDType, toFloat32, widenInto } from "../tensor/convert.ts";
import { type DType, elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import { optimizeShift } from "./hqq.ts";
import { addCodes } from "./pack.ts";
import { affineParameters, centredShift, encodeGroups, findRanges } from "./quantize-affine.ts";
import { quantizeSymmetric } from "./quantize-symmetric.ts";
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

/** Weights that are unpacked at a time: 64 KiB of float32, which stay in a core's own cache. */
const WEIGHTS_AT_A_TIME = 16 * 1024;
/** Where they are unpacked to; what was read is gone with the next read. */
const scratch = new Float32Array(WEIGHTS_AT_A_TIME);

/**
 * Quantizes one block of a weight; `stored` holds the groups of its runs, one run after another, as the file has them.
 *
 * Errors: CheckpointError when a number is not finite in the weight's dtype: Quanto would spoil the whole row.
 */
export function quantizeBlock(layout: WeightLayout, block: WeightBlock, stored: Uint8Array, storedDType: DType): QuantizedBlock {
  const read = (group: number, groups: number) => readValues(layout, stored, storedDType, group, groups);
  const refuse = (group: number, at: number) => notFinite(layout, block, stored, storedDType, group * layout.groupLength + at);
  if (layout.qtype.bits === 8) return quantizeBytes(layout, block, read, refuse);
  if (layout.perColumn) return quantizeColumns(layout, read, refuse);
  return quantizeBits(layout, block, read, refuse);
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
  const groups = block.runs.reduce((sum, run) => sum + run.groups, 0);
  const bytesPerGroup = bytes.length / groups;
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

type Read = (group: number, groups: number) => Float32Array;
type Refuse = (group: number, at: number) => CheckpointError;

/** Groups of a block as float32 in the weight's dtype, counted from the block's first. */
function readValues(layout: WeightLayout, stored: Uint8Array, storedDType: DType, group: number, groups: number): Float32Array {
  const groupBytes = layout.groupLength * elementSizeBytes(storedDType);
  const bytes = stored.subarray(group * groupBytes, (group + groups) * groupBytes);
  const memory = groups * layout.groupLength <= scratch.length ? scratch : new Float32Array(groups * layout.groupLength);
  const values = widenInto(bytes, storedDType, memory);
  return storedDType === layout.dtype ? values : roundToDType(values, layout.dtype);
}

function quantizeBytes(layout: WeightLayout, block: WeightBlock, read: Read, refuse: Refuse): QuantizedBlock {
  const { groupLength, qtype, dtype } = layout;
  const data = new Uint8Array(block.rows * groupLength);
  const scale = new Float32Array(block.rows);
  for (const { group, groups } of steps(block.rows, groupLength)) {
    const codes = data.subarray(group * groupLength, (group + groups) * groupLength);
    const wrong = quantizeSymmetric(read(group, groups), scale.subarray(group, group + groups), codes, qtype, dtype);
    if (wrong >= 0) throw refuse(group, wrong);
  }
  return { data, scale, shift: undefined };
}

function quantizeBits(layout: WeightLayout, block: WeightBlock, read: Read, refuse: Refuse): QuantizedBlock {
  const { groupLength, qtype, dtype, centred } = layout;
  const total = block.runs.reduce((sum, run) => sum + run.groups, 0);
  const scale = new Float32Array(total);
  let shift: Float32Array = new Float32Array(total);
  const data = new Uint8Array(block.rows * groupLength);
  const codes = new Uint8Array(Math.max(WEIGHTS_AT_A_TIME, groupLength));
  const encode = (values: Float32Array, group: number, groups: number) => {
    encodeGroups(layout, values, part(scale, group, groups, total), part(shift, group, groups, total), codes);
    for (let done = 0; done < groups; ) {
      const [lane, row] = [Math.floor((group + done) / block.rows), (group + done) % block.rows];
      const rows = Math.min(groups - done, block.rows - row);
      addCodes(codes, done * groupLength, rows * groupLength, data, row * groupLength, lane * qtype.bits);
      done += rows;
    }
  };
  for (const { group, groups } of steps(total, groupLength)) {
    const values = read(group, groups);
    const wrong = findRanges(values, part(scale, group, groups, total), part(shift, group, groups, total), qtype, dtype);
    if (wrong >= 0) throw refuse(group, wrong);
    if (layout.optimizer !== "hqq") encode(values, group, groups);
  }
  if (layout.optimizer === "hqq") {
    shift = optimizeShift(layout, read, scale, shift);
    for (const { group, groups } of steps(total, groupLength)) encode(read(group, groups), group, groups);
  }
  return {
    data,
    scale,
    shift: centred ? shift.map((value, group) => centredShift({ scale: scale[group] as number, shift: value })) : shift,
  };
}

/** Scales or shifts of consecutive groups; hqq may have several shifts per group. */
function part(parameters: Float32Array, group: number, groups: number, total: number): Float32Array {
  const perGroup = parameters.length / total;
  return parameters.subarray(group * perGroup, (group + groups) * perGroup);
}

/** Quanto takes the range of a single row over all axes but the last; a row of a matrix is then its own shift, and loses nothing. */
function quantizeColumns(layout: WeightLayout, read: Read, refuse: Refuse): QuantizedBlock {
  const { groupLength, qtype, dtype } = layout;
  const values = read(0, 1);
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw refuse(0, wrong);
  const columns = layout.shape.at(-1) as number;
  const [scale, shift] = [new Float32Array(columns), new Float32Array(columns)];
  const data = new Uint8Array(groupLength);
  for (let column = 0; column < columns; column++) {
    const own = values.filter((_, i) => i % columns === column);
    const { min, max } = extremes(own);
    const found = affineParameters(min, max, qtype, dtype);
    const codes = new Uint8Array(own.length);
    encodeGroups(layout, own, Float32Array.of(found.scale), Float32Array.of(found.shift), codes);
    codes.forEach((code, i) => {
      data[i * columns + column] = code;
    });
    scale[column] = found.scale;
    shift[column] = found.shift;
  }
  return { data, scale, shift };
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

/** Cuts so many groups into pieces that fit a core's own cache. */
function* steps(total: number, groupLength: number): Generator<{ group: number; groups: number }> {
  const step = Math.max(1, Math.floor(WEIGHTS_AT_A_TIME / groupLength));
  for (let group = 0; group < total; group += step) yield { group, groups: Math.min(step, total - group) };
}

/** Says which number of a weight is not finite, and whether it was so in the file; `at` counts from the block's first weight. */
function notFinite(layout: WeightLayout, block: WeightBlock, stored: Uint8Array, storedDType: DType, at: number): CheckpointError {
  const itemBytes = elementSizeBytes(storedDType);
  const value = toFloat32(stored.subarray(at * itemBytes, (at + 1) * itemBytes), storedDType)[0] as number;
  const found = `weight ${quote(layout.name)} holds ${value} at ${shapeText(placeOf(layout, block, at))}`;
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
function placeOf(layout: WeightLayout, block: WeightBlock, at: number): number[] {
  const groupsOfBlock = block.runs.flatMap(({ firstGroup, groups }) => Array.from({ length: groups }, (_, i) => firstGroup + i));
  const group = groupsOfBlock[Math.floor(at / layout.groupLength)] as number;
  let index = group * layout.groupLength + (at % layout.groupLength);
  return layout.shape.reduceRight<number[]>((place, dim) => {
    place.unshift(index % dim);
    index = Math.floor(index / dim);
    return place;
  }, []);
}
