/**
 * torch's CPU generator: the same seed gives the noise that `torch.randn(shape, generator=torch.Generator().manual_seed(seed))` gives.
 *
 * Two ways of drawing, as in torch. From 16 values on, float32 uniforms become normal numbers in blocks of 16; if the size is not a multiple
 * of 16, the last 16 values are drawn again from fresh uniforms. Below 16, values come one by one in double precision from pairs, the
 * second of a pair being kept for the next small draw. float16 and bfloat16 round these numbers, but leave the stream elsewhere: torch
 * fills a whole float32 buffer with uniforms, but a low-precision one block by block, so an incomplete block draws nothing.
 *
 * Equal to torch 2.13 bit for bit where torch runs its AVX2 code: every x86 processor with AVX2 or AVX512. torch without it (measured with
 * ATEN_CPU_CAPABILITY=default, 2^20 values) gives other float32 numbers: 61 % equal, 89 % within 4 ulp, none further than 2.2e-6, relative
 * RMS 1.8e-7. Older torch drew low-precision noise from 11 or 8 random bits (pytorch pull request 175988 changed it): another noise
 * altogether. One million float32 values take 45 ms (Node 20, one core).
 * Source: torch ATen/native/cpu/DistributionTemplates.h, ATen/core/DistributionsHelper.h@2.13.0.
 */
import { UsageError } from "../errors.ts";
import type { ComputeDType } from "../tensor/dtype.ts";
import { elementCount, type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { normalizeBlock } from "./box-muller.ts";
import { roundInPlace } from "./low-precision.ts";
import { Mt19937 } from "./mt19937.ts";

const BLOCK = 16;
const MAX_VALUES = 2 ** 31;

/** A source of normal noise whose state carries over from draw to draw. */
export class TorchGenerator {
  readonly #engine: Mt19937;
  #spare: number | undefined;

  /**
   * Starts the stream of a seed; as in torch, only its low 32 bits count and a negative seed stands for 2^64 + seed.
   *
   * Errors: UsageError when the seed is no integer of -2^63 to 2^64 - 1, or a number too large to be exact.
   */
  constructor(seed: number | bigint) {
    this.#engine = new Mt19937(Number(BigInt.asIntN(32, checkedSeed(seed))));
  }

  /**
   * Draws normal noise (mean 0, deviation 1) in a dtype and widens it to float32.
   *
   * Errors: UsageError when a dimension is no integer of 0 or more, or the shape has more than 2^31 values.
   */
  randn(shape: readonly number[], dtype: ComputeDType = "float32"): FloatTensor {
    const tensor = floatTensor(shape, new Float32Array(checkedCount(shape)));
    if (tensor.data.length < BLOCK) this.#fillOneByOne(tensor.data);
    else this.#fillBlocks(tensor.data, dtype);
    roundInPlace(tensor.data, dtype);
    return tensor;
  }

  #fillOneByOne(data: Float32Array): void {
    for (let i = 0; i < data.length; i++) {
      if (this.#spare !== undefined) {
        data[i] = this.#spare;
        this.#spare = undefined;
        continue;
      }
      const theta = 2 * Math.PI * this.#engine.nextFloat64();
      const radius = Math.sqrt(-2 * Math.log1p(-this.#engine.nextFloat64()));
      data[i] = radius * Math.cos(theta);
      this.#spare = radius * Math.sin(theta);
    }
  }

  #fillBlocks(data: Float32Array, dtype: ComputeDType): void {
    const complete = data.length - (data.length % BLOCK);
    this.#fillUniform(data, 0, dtype === "float32" ? data.length : complete);
    for (let offset = 0; offset < complete; offset += BLOCK) normalizeBlock(data, offset);
    if (complete === data.length) return;
    this.#fillUniform(data, data.length - BLOCK, data.length);
    normalizeBlock(data, data.length - BLOCK);
  }

  #fillUniform(data: Float32Array, start: number, end: number): void {
    for (let i = start; i < end; i++) data[i] = this.#engine.nextFloat32();
  }
}

function checkedSeed(seed: number | bigint): bigint {
  const expected = "expected a whole number from -2^63 to 2^64 - 1";
  if (typeof seed !== "bigint" && !Number.isSafeInteger(seed)) {
    const hint = Number.isInteger(seed) ? "numbers beyond 2^53 are not exact: give a bigint, such as 9007199254740993n" : undefined;
    throw new UsageError(`seed is ${String(seed)}, ${expected}`, { hint });
  }
  const value = BigInt(seed);
  if (value < -(2n ** 63n) || value >= 2n ** 64n) throw new UsageError(`seed is ${value}, ${expected}`);
  return value;
}

function checkedCount(shape: readonly number[]): number {
  if (!shape.every((dim) => Number.isSafeInteger(dim) && dim >= 0)) {
    throw new UsageError(`noise shape is [${shape.join(", ")}], expected integers of 0 or more`);
  }
  const count = elementCount(shape);
  if (count > MAX_VALUES) throw new UsageError(`noise shape is [${shape.join(", ")}], ${count} values, expected at most ${MAX_VALUES}`);
  return count;
}
