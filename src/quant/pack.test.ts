/** Packing by example and by property; the bytes themselves are compared with Quanto's in test/parity/quant.test.ts. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { packCodes, packedRows, unpackCodes } from "./pack.ts";

test("row i shares its bytes with row i + R/2, and with quarters for 2 bits", () => {
  expect(Array.from(packCodes(Uint8Array.of(1, 2, 3, 4, 5, 6), 2, 4))).toEqual([0x51, 0x62, 0x03, 0x04]);
  expect(Array.from(packCodes(Uint8Array.of(0, 1, 2, 3, 1), 1, 2))).toEqual([0b01_10_00, 0b11_01]);
});

test("what is packed unpacks", () => {
  const matrix = fc.constantFrom(2, 4).chain((bits) =>
    fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 })).chain(([rows, rowLength]) =>
      fc.record({
        bits: fc.constant(bits as 2 | 4),
        rows: fc.constant(rows),
        rowLength: fc.constant(rowLength),
        codes: fc.uint8Array({ minLength: rows * rowLength, maxLength: rows * rowLength, max: 2 ** bits - 1 }),
      }),
    ),
  );
  fc.assert(
    fc.property(matrix, ({ bits, rows, rowLength, codes }) => {
      const packed = packCodes(codes, rowLength, bits);
      expect(packed.length).toBe(packedRows(rows, bits) * rowLength);
      expect(Array.from(unpackCodes(packed, rows, rowLength, bits))).toEqual(Array.from(codes));
    }),
    { numRuns: 500, seed: 1 },
  );
});
