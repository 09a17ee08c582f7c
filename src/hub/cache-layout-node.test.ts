/** What several downloads do to one cache at the same moment. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { CachedRepository } from "./cache-layout-node.ts";

const COMMIT = "c".repeat(40);

async function openCache(): Promise<CachedRepository> {
  const folder = await mkdtemp(join(tmpdir(), "halftone-cache-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return new CachedRepository(folder, "maker/model", true);
}

test("a file that another download writes meanwhile is there or not yet, never an error", async () => {
  const cached = await openCache();
  const refs = join(cached.folder, "refs");
  for (let round = 0; round < 300; round++) {
    await rm(refs, { recursive: true, force: true });
    const writing = cached.writeCommit("main", COMMIT);
    let found: string | undefined;
    while (found === undefined) {
      const reads = await Promise.all([cached.readCommit("main"), cached.readCommit("main"), cached.readCommit("main")]);
      found = reads.find((commit) => commit !== undefined);
    }
    expect(found).toBe(COMMIT);
    await writing;
  }
});

test("what is in the way of a file is an error that names it, what is in the way of its folder means that it is not there", async () => {
  const cached = await openCache();
  const listing = join(cached.folder, "trees", `${COMMIT}.json`);
  await mkdir(listing, { recursive: true });
  await expect(cached.readListing(COMMIT)).rejects.toMatchObject({ message: "a file of the cache can't be read", where: listing });
  await writeFile(join(cached.folder, "refs"), "");
  expect(await cached.readCommit("main")).toBeUndefined();
});
