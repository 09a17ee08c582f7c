import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { patternBytes } from "../../test/support/fake-hub.ts";
import { type Bench, failureFrom, ID, startBench, WEIGHTS, WEIGHTS_BYTES } from "../../test/support/hub-bench.ts";
import { CancelledError, DownloadError, FileError } from "../errors.ts";

const RIGHT = createHash("sha256").update(patternBytes(WEIGHTS_BYTES, 1)).digest("hex");

async function expectWhole(bench: Bench): Promise<void> {
  const { folder } = await bench.resolve();
  const content = await readFile(join(folder, WEIGHTS));
  expect(createHash("sha256").update(content).digest("hex")).toBe(RIGHT);
  expect((await bench.blobs()).filter((name) => name.includes("incomplete"))).toEqual([]);
}

function storageRanges({ hub }: Bench): (string | undefined)[] {
  return hub.seen.filter(({ host }) => host === "storage").map(({ headers }) => headers.range);
}

test("a connection that is cut again and again goes on where it stopped", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { cutAfterBytes: 40_000 };
  await expectWhole(bench);
  const ranges = storageRanges(bench);
  expect(ranges.length).toBeGreaterThanOrEqual(7);
  expect(ranges[0]).toBeUndefined();
  const starts = ranges.slice(1).map((range) => Number(range?.match(/^bytes=(\d+)-$/)?.[1]));
  expect(starts.every((start, i) => start > (starts[i - 1] ?? 0))).toBe(true);
});

test("a body that ends early without an error is fetched to its end", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { endAfterBytes: 100_000, times: 1 };
  await expectWhole(bench);
  expect(storageRanges(bench)).toEqual([undefined, "bytes=100000-"]);
});

test("a server that never gets on is given up, and the next call goes on from there", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { cutAfterBytes: 50_000, times: 1 };
  bench.hub.faults["vae/diffusion"] = { cutAfterBytes: 0 };
  const error = await failureFrom(bench.resolve());
  expect(error).toBeInstanceOf(DownloadError);
  expect(error.message).toMatch(/^no connection to 127\.0\.0\.1:\d+: /);
  expect(error.where).toBe(`${bench.hub.storageEndpoint}/blob/${RIGHT}/${encodeURIComponent(WEIGHTS)}`);
  const partial = (await bench.blobs()).filter((name) => name.includes("incomplete"));
  expect(partial).toEqual([`${RIGHT}.halftone.incomplete`]);
  const left = (await stat(join(bench.cacheDir, "models--maker--model", "blobs", partial[0] ?? ""))).size;
  expect(left).toBeGreaterThan(0);
  bench.hub.faults = {};
  bench.hub.seen.length = 0;
  await expectWhole(bench);
  expect(storageRanges(bench)).toEqual([`bytes=${left}-`]);
});

test("a wrong hash removes what was received and says so", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { wrongContent: true };
  const error = await failureFrom(bench.resolve());
  expect(error).toBeInstanceOf(DownloadError);
  expect(error.message).toMatch(new RegExp(`^the content of ${WEIGHTS} has the sha256 [0-9a-f]{64}, expected ${RIGHT}$`));
  expect(error.hint).toBe("what was received has been deleted; the next download starts from the beginning");
  expect((await bench.blobs()).some((name) => name.startsWith(RIGHT))).toBe(false);
  bench.hub.faults = {};
  await expectWhole(bench);
});

test("small files are checked by git's hash", async () => {
  const bench = await startBench();
  bench.hub.faults["vae/config.json"] = { wrongContent: true };
  const error = await failureFrom(bench.resolve());
  const right = createHash("sha1").update('blob 32\0{"_class_name": "AutoencoderKL"}').digest("hex");
  expect(error.message).toMatch(new RegExp(`^the content of vae/config\\.json has the git hash [0-9a-f]{40}, expected ${right}$`));
});

test("a server that ignores ranges makes the file start over", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { cutAfterBytes: 100_000, times: 1 };
  bench.hub.faults["vae/"] = { ignoreRange: true };
  await expectWhole(bench);
  expect(storageRanges(bench)).toHaveLength(2);
});

test("a storage host whose file changes between two tries sends it whole", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { cutAfterBytes: 100_000, times: 1, storageEtags: ['"one"', '"two"'] };
  await expectWhole(bench);
  const conditions = bench.hub.seen.filter(({ host }) => host === "storage").map(({ headers }) => headers["if-range"]);
  expect(conditions).toEqual([undefined, '"one"']);
});

test("a file that is not the listed one is refused before it is read", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { linkedEtag: "0".repeat(64) };
  const error = await failureFrom(bench.resolve());
  expect(error.message).toBe(`the Hub answers with another ${WEIGHTS} (hash ${"0".repeat(64)}) than it lists (${RIGHT})`);
});

test("a partial file with rubbish in it, or too long, does no harm", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { status: 500 };
  await failureFrom(bench.resolve());
  bench.hub.faults = {};
  const blobs = join(bench.cacheDir, "models--maker--model", "blobs");
  await writeFile(join(blobs, `${RIGHT}.halftone.incomplete`), "rubbish");
  expect((await failureFrom(bench.resolve())).message).toContain("has the sha256");
  await writeFile(join(blobs, `${RIGHT}.halftone.incomplete`), new Uint8Array(WEIGHTS_BYTES + 1));
  await expectWhole(bench);
});

test("a partial file of a process that is gone is taken over", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { status: 500 };
  await failureFrom(bench.resolve());
  bench.hub.faults = {};
  const blobs = join(bench.cacheDir, "models--maker--model", "blobs");
  const dead = join(blobs, `${RIGHT}.01234567-4194305-0123456789abcdef0123.incomplete`);
  await writeFile(dead, patternBytes(WEIGHTS_BYTES, 1).subarray(0, 120_000));
  await utimes(dead, new Date(), new Date(Date.now() - 10 * 60_000));
  bench.hub.seen.length = 0;
  await expectWhole(bench);
  expect(storageRanges(bench)).toEqual(["bytes=120000-"]);
});

test("cancelling stops at once, keeps the partial file and writes no ref", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { slowBytes: 2000 };
  const controller = new AbortController();
  const started = performance.now();
  setTimeout(() => controller.abort(), 400);
  const error = await failureFrom(bench.resolve({ signal: controller.signal }));
  expect(error).toBeInstanceOf(CancelledError);
  expect(error.message).toBe(`the download of ${ID} was cancelled`);
  expect(performance.now() - started).toBeLessThan(3000);
  const [partial] = (await bench.blobs()).filter((name) => name.includes("incomplete"));
  expect(partial).toBe(`${RIGHT}.halftone.incomplete`);
  await expect(stat(join(bench.cacheDir, "models--maker--model", "refs"))).rejects.toThrow("ENOENT");
  bench.hub.faults = {};
  bench.hub.seen.length = 0;
  await expectWhole(bench);
  expect(storageRanges(bench)[0]).toMatch(/^bytes=\d+-$/);
});

test("a signal that is already raised sends nothing", async () => {
  const bench = await startBench();
  expect(await failureFrom(bench.resolve({ signal: AbortSignal.abort() }))).toBeInstanceOf(CancelledError);
  expect(bench.hub.seen).toEqual([]);
});

test("a server that falls silent is left, and asked again", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { stallAfterBytes: 70_000, times: 1 };
  const { variables } = bench.surroundings;
  await bench.resolve({}, { variables: { ...variables, HF_HUB_DOWNLOAD_TIMEOUT: "0.3" } });
  expect(storageRanges(bench)).toEqual([undefined, "bytes=70000-"]);
});

test("too little space on the disk is an error before anything is fetched", async () => {
  const bench = await startBench();
  const error = await failureFrom(bench.resolve({}, { freeBytes: async () => 200_000 }));
  expect(error).toBeInstanceOf(FileError);
  expect(error.message).toBe(`${ID} needs 300,073 bytes (0.0 GB) more on disk, but only 200,000 bytes (0.0 GB) are free`);
  expect(error.where).toBe(bench.cacheDir);
  expect(error.hint).toBe("free some space, or name a cache folder on another disk in HF_HUB_CACHE");
  expect(storageRanges(bench)).toEqual([]);
});

test("a disk that fills up while it is written to is an error, and the rest follows when there is room", async (context) => {
  const bench = await startBench();
  const disk = join(bench.cacheDir, "disk");
  await mkdir(disk);
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], { stdio: "ignore" });
  } catch {
    context.skip("a small file system can be mounted by root only");
  }
  try {
    const error = await failureFrom(bench.resolve({ cacheDir: disk }, { freeBytes: async () => 1e9 }));
    expect(error).toBeInstanceOf(FileError);
    expect(error.message).toBe("the cache of models can't be written: the disk is full");
    expect(error.where).toBe(disk);
    const real = await failureFrom(bench.resolve({ cacheDir: disk }));
    expect(real.message).toMatch(/^maker\/model needs [\d,]+ bytes \(0\.0 GB\) more on disk, but only [\d,]+ bytes \(0\.0 GB\) are free$/);
    execFileSync("mount", ["-o", "remount,size=2m", disk]);
    const { folder } = await bench.resolve({ cacheDir: disk });
    expect((await stat(join(folder, WEIGHTS))).size).toBe(WEIGHTS_BYTES);
    expect(storageRanges(bench).at(-1)).toMatch(/^bytes=\d{5,6}-$/);
  } finally {
    execFileSync("umount", [disk]);
  }
});

test("what is already on disk needs no space", async () => {
  const bench = await startBench();
  bench.hub.faults[WEIGHTS] = { cutAfterBytes: 250_000, times: 1 };
  bench.hub.faults["vae/diffusion"] = { cutAfterBytes: 0 };
  await failureFrom(bench.resolve());
  bench.hub.faults = {};
  await bench.resolve({}, { freeBytes: async () => 100_000 });
});

test("progress counts up to the totals", async () => {
  const bench = await startBench();
  await bench.resolve();
  const last = bench.events.at(-1);
  expect(last).toMatchObject({ type: "download", overallReceivedBytes: 300_073, overallTotalBytes: 300_073 });
  const weights = bench.events.filter((event) => event.type === "download" && event.file === WEIGHTS);
  expect(weights.at(-1)).toMatchObject({ receivedBytes: WEIGHTS_BYTES, totalBytes: WEIGHTS_BYTES });
  bench.events.length = 0;
  await bench.resolve();
  expect(bench.events).toEqual([]);
});
