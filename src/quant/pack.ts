/**
 * Codes of 4 and 2 bits in bytes. The rows of the matrix are cut into 8 / bits equal parts (the last may be short), and part k fills bits
 * [k * bits, (k + 1) * bits) of the same bytes: row i shares its bytes with row i + R/2, not with its neighbour.
 *
 * Source: optimum-quanto tensor/packed.py, library/unpack.py@0.2.7.
 */
import { type Kernel, kernelFor } from "./kernel/kernel.ts";

/** Codes that share a byte. */
export function codesPerByte(bits: 8 | 4 | 2): number {
  return 8 / bits;
}

/** Rows of bytes that so many rows of codes take. */
export function packedRows(rows: number, bits: 8 | 4 | 2): number {
  return Math.ceil(rows / codesPerByte(bits));
}

/**
 * Packs the codes at the beginning of the kernel's memory, one per byte, where they lie.
 *
 * Shapes: codes [rows, rowLength] -> [packedRows, rowLength]; there must be room for as many codes as the bytes can hold.
 */
export function packInPlace(kernel: Kernel, rows: number, rowLength: number, bits: 4 | 2): void {
  const partLength = packedRows(rows, bits) * rowLength;
  kernel.codes.fill(0, rows * rowLength, partLength * codesPerByte(bits));
  kernel.pack(partLength, bits);
}

/**
 * Packs codes, one per byte, into fresh memory.
 *
 * Shapes: codes [rows, rowLength] -> [packedRows, rowLength].
 */
export function packCodes(codes: Uint8Array, rowLength: number, bits: 4 | 2): Uint8Array<ArrayBuffer> {
  const rows = codes.length / rowLength;
  const partLength = packedRows(rows, bits) * rowLength;
  const kernel = kernelFor(partLength * codesPerByte(bits), 0);
  kernel.codes.set(codes);
  packInPlace(kernel, rows, rowLength, bits);
  return Uint8Array.from(kernel.codes.subarray(0, partLength));
}

/**
 * Unpacks into one code per byte, in fresh memory.
 *
 * Shapes: packed [packedRows, rowLength] -> [rows, rowLength].
 */
export function unpackCodes(packed: Uint8Array, rows: number, rowLength: number, bits: 4 | 2): Uint8Array<ArrayBuffer> {
  const codes = new Uint8Array(rows * rowLength);
  const mask = 2 ** bits - 1;
  for (let start = 0, shift = 0; start < codes.length; start += packed.length, shift += bits) {
    const count = Math.min(packed.length, codes.length - start);
    for (let i = 0; i < count; i++) codes[start + i] = ((packed[i] as number) >>> shift) & mask;
  }
  return codes;
}
