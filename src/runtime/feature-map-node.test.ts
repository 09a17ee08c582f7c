import { mkdtempSync, readdirSync, readSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { FileError } from "../errors.ts";
import { releasableFloats } from "../tensor/releasable.ts";
import { testFeatureMap } from "./feature-map.contract.ts";
import { memoryFeatureMap } from "./feature-map.ts";
import { type FileCalls, fileFeatureMaps } from "./feature-map-node.ts";
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

  it("is read and written on where the system moves less than it was asked to", async () => {
    const calls: FileCalls = {
      read: (descriptor, into, offset, length, position) => readSync(descriptor, into, offset, Math.min(length, 3), position),
      write: (descriptor, from, offset, length, position) => writeSync(descriptor, from, offset, Math.min(length, 5), position),
    };
    const map = await fileFeatureMaps([folder], calls)({ channels: 2, height: 2, width: 3 });
    const values = Float32Array.from({ length: 12 }, (_, i) => i + 0.5);
    await map.write(0, 2, values);
    const back = releasableFloats(12).data;
    await map.read(0, 2, back);
    expect(Array.from(back)).toEqual(Array.from(values));
    await map.dispose();
  });

  it("says so when rows are asked for that it does not have", async () => {
    const map = await fileFeatureMaps([folder])({ channels: 1, height: 2, width: 3 });
    await map.write(0, 1, new Float32Array(3));
    await expect(map.read(0, 2, new Float32Array(6))).rejects.toThrow("a temporary file became shorter while it was in use");
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
    const write = () => {
      throw Object.assign(new Error("no"), { code });
    };
    const map = await fileFeatureMaps([folder], { read: readSync, write })({ channels: 1, height: 1, width: 1 });
    const writing = map.write(0, 1, Float32Array.of(1));
    await expect(writing).rejects.toThrow(FileError);
    await expect(writing).rejects.toThrow(words);
    await map.dispose();
  });
});
