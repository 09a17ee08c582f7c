import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { cachedWeightFile, clearWeightCache, listWeightCache, weightCacheFolder, weightCacheLimit } from "./weight-cache-node.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "halftone-cache-"));
  vi.stubEnv("HALFTONE_CACHE", folder);
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const writing = (bytes: number) => async (file: string) => writeFileSync(file, new Uint8Array(bytes));

describe("the execution cache", () => {
  it("makes a file once", async () => {
    let made = 0;
    const make = async (file: string) => {
      made++;
      await writing(10)(file);
    };
    const first = await cachedWeightFile("a", make);
    expect(await cachedWeightFile("a", make)).toBe(first);
    expect(made).toBe(1);
    expect(first).toBe(path.join(folder, "a.safetensors"));
  });

  it("keeps nothing when making fails", async () => {
    await expect(cachedWeightFile("a", () => Promise.reject(new Error("disk full")))).rejects.toThrow("disk full");
    expect(readdirSync(folder)).toEqual([]);
  });

  it("deletes the longest unused files beyond the limit, never the one just made", async () => {
    vi.stubEnv("HALFTONE_CACHE_LIMIT", "25");
    for (const [i, key] of ["a", "b"].entries()) {
      const file = await cachedWeightFile(key, writing(10));
      utimesSync(file, i + 1, i + 1);
    }
    await cachedWeightFile("a", writing(10));
    await cachedWeightFile("c", writing(10));
    expect(readdirSync(folder).sort()).toEqual(["a.safetensors", "c.safetensors"]);
    await cachedWeightFile("huge", writing(100));
    expect(readdirSync(folder)).toEqual(["huge.safetensors"]);
  });

  it("lists and clears its own files alone", async () => {
    await cachedWeightFile("a", writing(10));
    writeFileSync(path.join(folder, "notes.txt"), "mine");
    mkdirSync(path.join(folder, "folder.safetensors"));
    expect((await listWeightCache()).map(({ path: file, sizeBytes }) => [path.basename(file), sizeBytes])).toEqual([["a.safetensors", 10]]);
    expect(await clearWeightCache()).toHaveLength(1);
    expect(readdirSync(folder).sort()).toEqual(["folder.safetensors", "notes.txt"]);
  });

  it("is empty where there is no folder yet", async () => {
    vi.stubEnv("HALFTONE_CACHE", path.join(folder, "none"));
    expect(await listWeightCache()).toEqual([]);
  });

  it.runIf(process.platform === "linux")("refuses a folder in memory", async () => {
    vi.stubEnv("HALFTONE_CACHE", "/dev/shm/halftone-cache-test");
    const made = cachedWeightFile("a", writing(10));
    await expect(made).rejects.toThrow('the execution cache "/dev/shm/halftone-cache-test" lies in memory, where it would save none');
    rmSync("/dev/shm/halftone-cache-test", { recursive: true });
  });

  it("says when its folder cannot be made", async () => {
    writeFileSync(path.join(folder, "file"), "");
    vi.stubEnv("HALFTONE_CACHE", path.join(folder, "file", "below"));
    await expect(cachedWeightFile("a", writing(1))).rejects.toThrow(/^the execution cache ".*below" cannot be used: /);
  });
});

describe("its place and limit", () => {
  it("come from the environment", () => {
    expect(weightCacheFolder({ HALFTONE_CACHE: "/x/y" })).toBe(path.resolve("/x/y"));
    if (process.platform === "linux") expect(weightCacheFolder({ XDG_CACHE_HOME: "/caches" })).toBe("/caches/halftone");
    expect(weightCacheLimit({})).toBe(40e9);
    expect(weightCacheLimit({ HALFTONE_CACHE_LIMIT: "1e6" })).toBe(1e6);
    expect(() => weightCacheLimit({ HALFTONE_CACHE_LIMIT: "lots" })).toThrow('HALFTONE_CACHE_LIMIT must be a number of bytes, got "lots"');
  });
});
