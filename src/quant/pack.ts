/**
 * Codes of 4 and 2 bits in bytes. The rows of the matrix are cut into 8 / bits equal parts (the last may be short), and part k fills bits
 * [k * bits, (k + 1) * bits) of the same bytes: row i shares its bytes with row i + R/2, not with its neighbour.
 *
 * Source: optimum-quanto tensor/packed.py, library/unpack.py@0.2.7.
 */

/** Codes that share a byte. */
export function codesPerByte(bits: 8 | 4 | 2): number {
  return 8 / bits;
}

/** Rows of bytes that so many rows of codes take. */
export function packedRows(rows: number, bits: 8 | 4 | 2): number {
  return Math.ceil(rows / codesPerByte(bits));
}

/** Adds codes to bytes that have room for them: those at [from, from + count) to the bytes at `at`, `shiftBits` to the left. */
export function addCodes(codes: Uint8Array, from: number, count: number, packed: Uint8Array, at: number, shiftBits: number): void {
  const [source, target] = [codes.byteOffset + from, packed.byteOffset + at];
  if (source % 4 === 0 && target % 4 === 0 && count % 4 === 0) {
    // Four at a time: no code leaves its byte.
    addAll(new Uint32Array(codes.buffer, source, count / 4), new Uint32Array(packed.buffer, target, count / 4), shiftBits);
  } else {
    addAll(codes.subarray(from, from + count), packed.subarray(at, at + count), shiftBits);
  }
}

function addAll<A extends Uint8Array | Uint32Array>(codes: A, packed: A, shiftBits: number): void {
  for (let i = 0; i < codes.length; i++) packed[i] = (packed[i] as number) | ((codes[i] as number) << shiftBits);
}

/**
 * Packs codes, one per byte, into fresh memory.
 *
 * Shapes: codes [rows, rowLength] -> [packedRows, rowLength].
 */
export function packCodes(codes: Uint8Array, rowLength: number, bits: 4 | 2): Uint8Array<ArrayBuffer> {
  const partLength = packedRows(codes.length / rowLength, bits) * rowLength;
  const packed = new Uint8Array(partLength);
  for (let from = 0, shift = 0; from < codes.length; from += partLength, shift += bits) {
    addCodes(codes, from, Math.min(partLength, codes.length - from), packed, 0, shift);
  }
  return packed;
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
