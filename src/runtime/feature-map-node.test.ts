import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { FileError } from "../errors.ts";
import { testFeatureMap } from "./feature-map.contract.ts";
import { memoryFeatureMap } from "./feature-map.ts";
import { fileFeatureMaps } from "./feature-map-node.ts";
import { isMemoryBacked } from "./memory-backed-node.ts";

const folder = mkdtempSync(path.join(tmpdir(), "halftone-maps-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("in memory", () => testFeatureMap(() => memoryFeatureMap));
describe("in a file", () => testFeatureMap(() => fileFeatureMaps([folder])));

describe("the file", () => {
  it("has no name while it is open", async ({ skip }) => {
    if (process.platform === "win32") skip("Windows keeps the name of an open file");
    const map = await fileFeatureMaps([folder])({ channels: 1, height: 1, width: 1 });
    await map.write(0, 1, Float32Array.of(1));
    expect(readdirSync(folder)).toEqual([]);
    await map.dispose();
  });

  it("may be larger than a piece", async () => {
    const shape = { channels: 2, height: 5, width: 100_000 };
    const map = await fileFeatureMaps([folder])(shape);
    const values = Float32Array.from({ length: 2 * 5 * 100_000 }, (_, i) => i);
    await map.write(0, 5, values);
    const back = new Float32Array(values.length);
    await map.read(0, 5, back);
    expect(back.every((value, i) => value === i)).toBe(true);
    await map.dispose();
  });

  it("is refused where every folder is of no use", async ({ skip }) => {
    const memory = "/dev/shm";
    if (process.platform !== "linux" || !(await isMemoryBacked(memory))) skip("there is no folder in memory");
    const blocked = path.join(folder, "a-file");
    writeFileSync(blocked, "");
    const opening = fileFeatureMaps([memory, blocked])({ channels: 1, height: 1, width: 1 });
    await expect(opening).rejects.toThrow(FileError);
    await expect(opening).rejects.toThrow(/"\/dev\/shm" lies in memory.*a-file" cannot be used/);
    rmSync(blocked);
  });

  it("is made in the second folder where the first lies in memory", async ({ skip }) => {
    if (process.platform !== "linux" || !(await isMemoryBacked("/dev/shm"))) skip("there is no folder in memory");
    const second = path.join(folder, "second");
    const map = await fileFeatureMaps(["/dev/shm", second])({ channels: 1, height: 1, width: 1 });
    expect(readdirSync(folder)).toContain("second");
    await map.dispose();
    rmSync(second, { recursive: true });
  });

  it.each([
    ["ENOSPC", "the disk is full: the features of the picture could not be kept in"],
    ["EIO", "a temporary file failed (EIO): the features of the picture could not be kept in"],
  ])("says what the system says: %s", async (code, words) => {
    const map = await fileFeatureMaps([folder])({ channels: 1, height: 1, width: 1 });
    const any = await open(path.join(folder, "any"), "w");
    const write = vi
      .spyOn(Object.getPrototypeOf(any) as typeof any, "write")
      .mockRejectedValueOnce(Object.assign(new Error("no"), { code }));
    await any.close();
    try {
      const writing = map.write(0, 1, Float32Array.of(1));
      await expect(writing).rejects.toThrow(FileError);
      await expect(writing).rejects.toThrow(words);
    } finally {
      write.mockRestore();
      await map.dispose();
    }
  });
});
