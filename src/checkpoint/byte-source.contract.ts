/** What every byte source and every folder has to do; run by the tests of each. */
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { CancelledError } from "../errors.ts";
import type { ByteSource, Folder } from "./byte-source.ts";

const BYTES = Uint8Array.from({ length: 10_007 }, (_, i) => (i * 31 + (i >> 8)) & 0xff);

/** Tests sources that `open` makes of bytes; the caller closes and removes what it made. */
export function byteSourceContract(open: (bytes: Uint8Array) => Promise<ByteSource>): void {
  it("tells its size", async () => {
    expect((await open(BYTES)).sizeBytes).toBe(BYTES.length);
    expect((await open(new Uint8Array(0))).sizeBytes).toBe(0);
  });

  it("reads any range", async () => {
    const source = await open(BYTES);
    const range = fc.tuple(fc.nat(BYTES.length), fc.nat(BYTES.length)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
    await fc.assert(
      fc.asyncProperty(range, async ([begin, end]) => {
        expect(Buffer.compare(await source.read(begin, end - begin), BYTES.subarray(begin, end))).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  it("reads nothing at the end, and nothing of an empty source", async () => {
    expect(await (await open(BYTES)).read(BYTES.length, 0)).toHaveLength(0);
    expect(await (await open(new Uint8Array(0))).read(0, 0)).toHaveLength(0);
  });

  it("gives fresh memory that any typed array can view", async () => {
    const source = await open(BYTES);
    const first = await source.read(3, 16);
    first.fill(0);
    const second = await source.read(3, 16);
    expect(second).toEqual(BYTES.slice(3, 19));
    expect(second.byteOffset % 8).toBe(0);
    expect(second.constructor).toBe(Uint8Array);
  });

  it("reads many ranges at once", async () => {
    const source = await open(BYTES);
    const reads = await Promise.all(Array.from({ length: 40 }, (_, i) => source.read(i * 100, 100)));
    expect(reads).toEqual(Array.from({ length: 40 }, (_, i) => BYTES.slice(i * 100, i * 100 + 100)));
  });

  it.each([
    [0, BYTES.length + 1],
    [BYTES.length + 1, 0],
    [-1, 1],
    [5, -1],
    [0.5, 1],
    [0, Number.NaN],
    [0, Number.POSITIVE_INFINITY],
    [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ])("refuses the range (%d, %d)", async (offset, length) => {
    const source = await open(BYTES);
    expect(await caught(source.read(offset, length))).toEqual({
      kind: "CheckpointError",
      message: `${length} bytes at offset ${offset} were asked for, but the file has 10007 bytes`,
      where: source.name,
    });
  });

  it("stops when it is told to", async () => {
    const source = await open(BYTES);
    await expect(source.read(0, 10, AbortSignal.abort())).rejects.toThrow(CancelledError);
    expect(await source.read(0, 2)).toEqual(BYTES.slice(0, 2));
  });
}

/** Tests folders that `open` makes of files. */
export function folderContract(open: (files: Record<string, string>) => Promise<Folder>): void {
  const files = { "model_index.json": "{}", "vae/config.json": "[]", "vae/deep/er/a b.txt": "ü", "a.txt": "" };

  it("lists its files, sorted", async () => {
    expect(await (await open(files)).list()).toEqual(["a.txt", "model_index.json", "vae/config.json", "vae/deep/er/a b.txt"]);
  });

  it("opens files by their path", async () => {
    const folder = await open(files);
    const source = await folder.open("vae/deep/er/a b.txt");
    expect(source?.name.startsWith(`${folder.name}/vae/deep/er/a`)).toBe(true);
    expect(new TextDecoder().decode(await source?.read(0, 2))).toBe("ü");
    await source?.close();
  });

  it("says which files are not there", async () => {
    const folder = await open(files);
    expect(await folder.open("missing.json")).toBeUndefined();
    expect(await folder.open("unet/config.json")).toBeUndefined();
    expect(await folder.open("a.txt/config.json")).toBeUndefined();
  });

  it.each(["../a.txt", "vae/../../a.txt", "/etc/passwd", "vae//config.json", "", ".", "vae\\config.json", "C:/x", "a\0b"])(
    "refuses the path %j",
    async (path) => {
      const folder = await open(files);
      expect(await caught(folder.open(path))).toEqual({
        kind: "CheckpointError",
        message: `path ${JSON.stringify(path)} is not inside the model folder, expected a relative path of plain names`,
        where: folder.name,
      });
    },
  );
}
