import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { cache } from "./cache.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "halftone-cli-cache-"));
  vi.stubEnv("HALFTONE_CACHE", folder);
  writeFileSync(join(folder, "abc.safetensors"), new Uint8Array(1500));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

async function run(action: string | undefined, flags = {}) {
  const written = { stdout: "", stderr: "" };
  const side = (name: "stdout" | "stderr") => ({
    write(text: string) {
      written[name] += text;
      return true;
    },
  });
  await cache(action, flags, { stdout: side("stdout"), stderr: side("stderr"), env: {} });
  return written;
}

describe("halftone cache", () => {
  test("lists files, their size and the limit", async () => {
    const { stdout, stderr } = await run(undefined);
    expect(stdout).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d {3}1\.50 kB {2}.*abc\.safetensors\n$/);
    expect(stderr).toBe(`${folder}: 1 file, 1.50 kB of 40.0 GB\n`);
  });

  test("clears", async () => {
    expect(await run("clear")).toEqual({ stdout: "", stderr: "deleted 1 file, 1.50 kB\n" });
    expect(readdirSync(folder)).toEqual([]);
  });

  test("prints JSON", async () => {
    expect(JSON.parse((await run("list", { json: true })).stdout)).toMatchObject({ folder, sizeBytes: 1500, limitBytes: 40e9 });
  });

  test("knows no other action", async () => {
    await expect(run("wipe")).rejects.toThrow('cache expects list or clear, got "wipe"');
  });
});
