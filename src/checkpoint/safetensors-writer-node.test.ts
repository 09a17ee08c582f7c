import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeSafetensors, type TensorBytes } from "./safetensors-layout.ts";
import { SafetensorsWriter } from "./safetensors-writer-node.ts";

const TENSORS: TensorBytes[] = [
  { name: "b", dtype: "float32", shape: [3], bytes: Uint8Array.from({ length: 12 }, (_, i) => i) },
  { name: "a", dtype: "int8", shape: [2, 5], bytes: Uint8Array.from({ length: 10 }, (_, i) => 100 + i) },
  { name: "empty", dtype: "int8", shape: [0], bytes: new Uint8Array() },
  { name: "scalar", dtype: "float16", shape: [], bytes: Uint8Array.of(0, 0x3c) },
];
const METADATA = { format: "pt" };
let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "halftone-writer-"));
  path = join(folder, "model.safetensors");
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe("SafetensorsWriter", () => {
  test("pieces in any order make the file that the whole would be, which appears only at the end", async () => {
    const writer = await SafetensorsWriter.create(path, TENSORS, METADATA);
    const pieces = TENSORS.flatMap(({ name, bytes }) => Array.from({ length: bytes.length }, (_, i) => ({ name, offset: i, bytes })));
    // Every other byte from behind, then the rest.
    for (const odd of [1, 0]) {
      for (const { name, offset, bytes } of pieces.toReversed().filter((piece) => piece.offset % 2 === odd)) {
        await writer.write(name, offset, bytes.subarray(offset, offset + 1));
      }
    }
    expect(readdirSync(folder)).toEqual([expect.stringMatching(/^\.halftone-[0-9a-f]{12}\.part$/)]);
    await writer.finish();
    expect(readdirSync(folder)).toEqual(["model.safetensors"]);
    expect(new Uint8Array(readFileSync(path))).toEqual(encodeSafetensors(TENSORS, METADATA));
    expect(writer.sizeBytes).toBe(readFileSync(path).length);
  });

  test("finds a byte that is missing, and leaves nothing", async () => {
    const writer = await SafetensorsWriter.create(path, TENSORS, METADATA);
    for (const { name, bytes } of TENSORS) await writer.write(name, 0, name === "a" ? bytes.subarray(0, 9) : bytes);
    await expect(writer.finish()).rejects.toThrow('tensor "a" has bytes from 9 on that were not written');
    expect(readdirSync(folder)).toEqual([]);
  });

  test("finds a byte that is written twice, outside its tensor, or of no tensor", async () => {
    const writer = await SafetensorsWriter.create(path, TENSORS);
    await writer.write("a", 2, new Uint8Array(3));
    await expect(writer.write("a", 4, new Uint8Array(2))).rejects.toThrow('tensor "a" has bytes 4 to 6 written twice');
    await expect(writer.write("a", 0, new Uint8Array(10))).rejects.toThrow("written twice");
    await expect(writer.write("a", 9, new Uint8Array(2))).rejects.toThrow("expected a piece inside, got 9 + 2");
    await expect(writer.write("c", 0, new Uint8Array(2))).rejects.toThrow('tensor "c" is not in the file\'s header');
    await writer.abort();
    await writer.abort();
    expect(readdirSync(folder)).toEqual([]);
  });

  test("names a folder that is not there", async () => {
    await expect(SafetensorsWriter.create(join(folder, "x", "m.safetensors"), TENSORS)).rejects.toThrow(
      `folder "${join(folder, "x")}" does not exist`,
    );
  });
});

const canMount = process.getuid?.() === 0 && spawnSync("unshare", ["--mount", "true"]).status === 0;

describe("a full disk", () => {
  test.skipIf(!canMount)("is named by every piece, and nothing is left (skipped where no disk can be mounted)", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]);
    try {
      const writer = await SafetensorsWriter.create(path, [{ name: "w", dtype: "uint8", shape: [2 ** 20] }]);
      await writer.write("w", 0, new Uint8Array(2 ** 10));
      const pieces = Array.from({ length: 8 }, (_, i) => writer.write("w", 2 ** 10 + i * 2 ** 16, new Uint8Array(2 ** 16)));
      const errors = (await Promise.allSettled(pieces)).flatMap((piece) => (piece.status === "rejected" ? [piece.reason.message] : []));
      await writer.write("w", 2 ** 19 + 2 ** 10, new Uint8Array(8)).catch((error: Error) => errors.push(error.message));
      expect(errors.length).toBeGreaterThan(4);
      expect(new Set(errors)).toEqual(new Set([`the disk is full: "${path}" was not written`]));
      expect(readdirSync(folder)).toEqual([]);
    } finally {
      execFileSync("umount", [folder]);
    }
  });
});
