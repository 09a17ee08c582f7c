/**
 * Property tests of the header parser: whatever the bytes say, it answers with a sound list or with one of halftone's errors, soon, and
 * without taking more memory than its file comment states.
 */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CheckpointError, UnsupportedError } from "../errors.ts";
import { elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { ByteSource } from "./byte-source.ts";
import { memorySource } from "./memory-source.ts";
import { parseHeader, readSafetensors, SAFETENSORS_DTYPES, type SafetensorsFile } from "./safetensors.ts";
import { encodeSafetensors, layoutSafetensors } from "./safetensors-layout.ts";

const DTYPES = Object.values(SAFETENSORS_DTYPES);
const DATA_BYTES = 4096;

const spec = fc.record({
  name: fc.oneof(fc.string(), fc.string({ unit: "grapheme" }), fc.constantFrom("__proto__", "constructor", "a.b.weight", "")),
  dtype: fc.constantFrom(...DTYPES),
  shape: fc.array(fc.nat(4), { maxLength: 4 }),
});
const specs = fc.uniqueArray(spec, { maxLength: 6, selector: ({ name }) => name });
const soundFile = specs.map((list) =>
  encodeSafetensors(
    list.map((entry) => ({ ...entry, bytes: new Uint8Array(elementCount(entry.shape) * elementSizeBytes(entry.dtype)) })),
    { format: "pt" },
  ),
);

/** What a header is made of, so that mutations hit its grammar and not only its letters. */
const piece = fc.oneof(
  fc.constantFrom(
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "NaN",
    "-",
    ".",
    "e9",
    " ",
    "\n",
    "\0",
    "\ufeff",
  ),
  fc.constantFrom('"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', '"__proto__"', '"F32"', '"F4"', '"U7"', "{}", "[]", '"":'),
  fc.constantFrom("0", "-0", "1", "-1", "1.5", "9007199254740991", "9007199254740992", "18446744073709551615", "1e400", "00"),
  fc.string({ unit: "binary", maxLength: 3 }),
);
const edit = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.oneof({ weight: 2, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.nat(12) }),
  insert: fc.oneof(
    { weight: 1, arbitrary: fc.nat(255).map((byte) => Uint8Array.of(byte)) },
    { weight: 1, arbitrary: fc.nat(9).map((digit) => Uint8Array.of(0x30 + digit)) },
    { weight: 2, arbitrary: piece.map((text) => new TextEncoder().encode(text)) },
  ),
});

function edited(file: Uint8Array, edits: readonly { at: number; remove: number; insert: Uint8Array }[]): Uint8Array {
  let header = file.slice(8, 8 + headerLength(file));
  for (const { at, remove, insert } of edits) {
    const place = Math.floor(at * header.length);
    header = Uint8Array.from([...header.subarray(0, place), ...insert, ...header.subarray(place + remove)]);
  }
  return header;
}

function headerLength(file: Uint8Array): number {
  return Number(new DataView(file.buffer).getBigUint64(0, true));
}

/** The promise of a list: tensors cover the data without gap or overlap, each as long as its shape says. */
function expectSound({ tensors }: SafetensorsFile, dataStart: number, sizeBytes: number): void {
  let end = dataStart;
  for (const [name, tensor] of tensors) {
    if (tensor.offset !== end || tensor.name !== name) throw new Error(`${name} begins at ${tensor.offset}, expected ${end}`);
    if (tensor.sizeBytes !== elementCount(tensor.shape) * elementSizeBytes(tensor.dtype)) throw new Error(`${name} has a wrong size`);
    end += tensor.sizeBytes;
  }
  if (end !== sizeBytes) throw new Error(`the tensors end at ${end}, expected ${sizeBytes}`);
}

function outcome(header: Uint8Array, dataBytes: number): "sound" | "refused" {
  const source: ByteSource = { ...memorySource("x", new Uint8Array(0)), sizeBytes: 8 + header.length + dataBytes };
  try {
    expectSound(parseHeader(header, source), 8 + header.length, source.sizeBytes);
    return "sound";
  } catch (error) {
    if (error instanceof CheckpointError || error instanceof UnsupportedError) return "refused";
    throw error;
  }
}

// First, while the process is small: what it has taken once hides what comes later.
describe("hostile headers of 8 MB", () => {
  const SIZE = 8 * 2 ** 20;
  const distinct = (item: (i: number) => string) => {
    const items: string[] = [];
    for (let length = 0, i = 0; length < SIZE; i++) length += items[items.push(item(i)) - 1]?.length ?? 0;
    return items.join(",");
  };

  it.each<[string, () => string]>([
    ["brackets", () => `{"a":{"x":${"[".repeat(SIZE)}`],
    ["braces", () => '{"a":'.repeat(SIZE / 5)],
    ["empty lists", () => `{"a":{"x":[${"[],".repeat(SIZE / 3)}[]]}}`],
    ["a shape of a million dims", () => `{"a":{"shape":[${"1,".repeat(SIZE / 2)}1]}}`],
    ["one number", () => `{"a":{"shape":[${"1".repeat(SIZE)}]}}`],
    ["one fraction", () => `{"a":{"x":0.${"1".repeat(SIZE)}}}`],
    ["spaces", () => `{${" ".repeat(SIZE)}`],
    ["one name", () => `{"${"a".repeat(SIZE)}":{}}`],
    ["one name of escapes", () => `{"${"\\u00e9".repeat(SIZE / 6)}":{}}`],
    ["quotes without end", () => `{"${'\\"'.repeat(SIZE / 2)}`],
    ["tensors", () => `{${distinct((i) => `"${i}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`)}}`],
    ["tensors of 64 axes", () => `{${distinct((i) => `"${i}":{"dtype":"U8","shape":[${"0,".repeat(63)}0],"data_offsets":[0,0]}`)}}`],
    ["fields", () => `{"a":{${distinct((i) => `"${i}":0`)}}}`],
    ["fields of a field", () => `{"a":{"x":{${distinct((i) => `"${i}":0`)}}}}`],
    ["texts of metadata", () => `{"__metadata__":{${distinct((i) => `"${i}":""`)}}}`],
    ["one text of metadata", () => `{"__metadata__":{"x":"${"é".repeat(SIZE / 2)}"}}`],
  ])("%s", (_, make) => {
    const header = new TextEncoder().encode(make());
    const before = process.resourceUsage().maxRSS;
    const start = performance.now();
    outcome(header, 0);
    const seconds = (performance.now() - start) / 1000;
    const grownBytes = 1024 * (process.resourceUsage().maxRSS - before);
    // Measured: 0.01 to 0.4 s, tensors up to 4 s on a busy machine.
    expect(seconds).toBeLessThan(20);
    expect(grownBytes).toBeLessThan(5 * header.length + 150e6);
  });
});

describe("100,000 headers", () => {
  const seen = { sound: 0, refused: 0 };

  it("70,000 mutated in their bytes and grammar", () => {
    fc.assert(
      fc.property(soundFile, fc.array(edit, { minLength: 1, maxLength: 4 }), (file, edits) => {
        const header = edited(file, edits);
        seen[outcome(header, file.length - 8 - headerLength(file))] += 1;
      }),
      { numRuns: 70_000, seed: 1 },
    );
    // A parser that refuses everything would pass the rest.
    expect(seen.sound).toBeGreaterThan(100);
    expect(seen.refused).toBeGreaterThan(50_000);
  });

  it("20,000 of sound grammar with entries that contradict each other", () => {
    const offsets = fc.array(fc.oneof(fc.nat(DATA_BYTES), fc.constantFrom(-1, 0.5, 2 ** 53, 2 ** 64)), { minLength: 1, maxLength: 3 });
    const dims = fc.array(fc.oneof(fc.nat(64), fc.constantFrom(-1, 2 ** 32, 2 ** 53 - 1, 0)), { maxLength: 4 });
    const entry = fc.record({ dtype: fc.constantFrom(...Object.keys(SAFETENSORS_DTYPES), "F4", "X"), shape: dims, data_offsets: offsets });
    fc.assert(
      fc.property(fc.dictionary(fc.string(), entry, { maxKeys: 5 }), (object) => {
        outcome(new TextEncoder().encode(JSON.stringify(object)), DATA_BYTES);
      }),
      { numRuns: 20_000, seed: 2 },
    );
  });

  it("10,000 whole files cut, lengthened or with another length in front", async () => {
    await fc.assert(
      fc.asyncProperty(soundFile, fc.nat(40), fc.uint8Array({ maxLength: 12 }), fc.boolean(), async (file, cut, bytes, inFront) => {
        const broken = Uint8Array.from([...file.subarray(0, file.length - Math.min(cut, file.length)), ...(inFront ? [] : bytes)]);
        if (inFront) broken.set(bytes.subarray(0, Math.min(8, broken.length)));
        const asked: number[] = [];
        const source = memorySource("x", broken);
        const spy: ByteSource = {
          ...source,
          read(offset, length) {
            asked.push(length);
            return source.read(offset, length);
          },
        };
        try {
          const sound = await readSafetensors(spy);
          expectSound(sound, broken.length - [...sound.tensors.values()].reduce((sum, tensor) => sum + tensor.sizeBytes, 0), broken.length);
        } catch (error) {
          if (!(error instanceof CheckpointError)) throw error;
        }
        // A length that a header only claims is never allocated.
        if (asked.reduce((sum, length) => sum + length, 0) > broken.length) throw new Error(`read ${asked} bytes of ${broken.length}`);
      }),
      { numRuns: 10_000, seed: 3 },
    );
  });

  it("1,000 sound ones are read back as they were written", () => {
    fc.assert(
      fc.property(specs, (list) => {
        const { header, tensors, sizeBytes } = layoutSafetensors(list);
        const source: ByteSource = { ...memorySource("x", new Uint8Array(0)), sizeBytes };
        const read = [...parseHeader(header.slice(8), source).tensors.values()].map(({ source: _, ...rest }) => rest);
        const byPlace = (a: { offset: number; sizeBytes: number; name: string }, b: typeof a) =>
          a.offset - b.offset || a.sizeBytes - b.sizeBytes || (a.name < b.name ? -1 : 1);
        expect(read.toSorted(byPlace)).toEqual([...tensors].toSorted(byPlace));
      }),
      { numRuns: 1000, seed: 4 },
    );
  });
});
