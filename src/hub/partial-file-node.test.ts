/** Several downloads of one model at once: in this process, and in processes of their own that run the compiled sources. */

import { execFile } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { type Bench, COMMIT, ID, smallModel, startBench, WEIGHTS } from "../../test/support/hub-bench.ts";
import type { ResolvedModel } from "./hub-node.ts";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PROGRAM = "node_modules/.cache/halftone-hub-program/test/support/hub-program.js";

async function buildProgram(): Promise<void> {
  await run(join(ROOT, "node_modules/.bin/tsc"), ["-p", "test/support/hub-program.tsconfig.json"], { cwd: ROOT });
}

async function resolveInProcess({ hub, cacheDir }: Bench, kill?: AbortSignal): Promise<ResolvedModel> {
  const program = run(process.execPath, [join(ROOT, PROGRAM), "resolve", ID, JSON.stringify({ cacheDir })], {
    env: { ...process.env, HF_ENDPOINT: hub.endpoint, HF_HOME: join(cacheDir, "home") },
    ...(kill === undefined ? {} : { signal: kill, killSignal: "SIGKILL" as const }),
  });
  const { stdout } = await program.catch((cause: Error & { stdout: string; stderr: string }) => {
    throw new Error(`the program failed: ${cause.stdout}${cause.stderr}`, { cause });
  });
  return (JSON.parse(stdout) as { model: ResolvedModel }).model;
}

async function expectWhole(bench: Bench, models: readonly ResolvedModel[]): Promise<void> {
  for (const { folder, commit } of models) {
    expect(commit).toBe(COMMIT);
    expect((await readFile(join(folder, WEIGHTS))).equals(Buffer.from(smallModel()[WEIGHTS] ?? ""))).toBe(true);
  }
  expect((await bench.blobs()).every((name) => /^[0-9a-f]+$/.test(name))).toBe(true);
  expect(await bench.blobs()).toHaveLength(4);
}

/** Bytes on the disk of a file that is not whole yet; it may become so, and lose its name, at any moment. */
async function partialBytes({ blobs, cacheDir }: Bench): Promise<number> {
  const name = (await blobs()).find((blob) => blob.includes("incomplete"));
  if (name === undefined) return 0;
  const info = await stat(join(cacheDir, "models--maker--model", "blobs", name)).catch(() => undefined);
  return info?.size ?? 0;
}

function fetchedWhole({ hub }: Bench): number {
  return hub.seen.filter(({ host, headers }) => host === "storage" && headers.range === undefined).length;
}

test("two calls in one process fetch a file once", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { slowBytes: 30_000 };
  const models = await Promise.all([bench.resolve(), bench.resolve()]);
  await expectWhole(bench, models);
  expect(fetchedWhole(bench)).toBe(1);
});

test("three processes at once do each other no harm and share the work", async () => {
  await buildProgram();
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { slowBytes: 2000 };
  const models = await Promise.all([resolveInProcess(bench), resolveInProcess(bench), resolveInProcess(bench)]);
  await expectWhole(bench, models);
  expect(fetchedWhole(bench)).toBeLessThan(3);
});

test("what a killed process left is gone on with", async () => {
  await buildProgram();
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { slowBytes: 1000 };
  const kill = new AbortController();
  const killed = resolveInProcess(bench, kill.signal).catch((error: unknown) => error);
  // More than the small files have, which come first.
  while ((await partialBytes(bench)) < 10_000) await new Promise((resolve) => setTimeout(resolve, 20));
  kill.abort();
  await killed;
  const left = (await bench.blobs()).filter((name) => name.includes("incomplete"));
  expect(left).toHaveLength(1);
  bench.hub.faults = {};
  bench.hub.seen.length = 0;
  await expectWhole(bench, [await bench.resolve()]);
  const ranges = bench.hub.seen.filter(({ host }) => host === "storage").map(({ headers }) => headers.range);
  expect(ranges).toEqual([expect.stringMatching(/^bytes=[1-9]\d+-$/)]);
});
