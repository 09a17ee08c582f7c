/** The files that diffusers fetches and the cache that huggingface_hub leaves, as reference/hub_cache.py recorded them. */

import { lstat, mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { resolveModel } from "../../src/hub/hub-node.ts";
import { hubSurroundings } from "../../src/hub/session-node.ts";
import { FakeHub, readRepositories } from "../support/fake-hub.ts";
import { fixturePath } from "../support/fixture.ts";

interface SelectionCase {
  id: string;
  variant: string | null;
  files?: string[];
  error?: string;
}

const { cases } = JSON.parse(await readFile(fixturePath("hub-cache/selection.json"), "utf8")) as { cases: SelectionCase[] };
const python = JSON.parse(await readFile(fixturePath("hub-cache/layout.json"), "utf8")) as { id: string; layout: Record<string, unknown> };

let hub: FakeHub;
let scratch: string;

beforeAll(async () => {
  hub = await new FakeHub(readRepositories(fixturePath("hub-cache/repositories.json"))).listen();
  scratch = await mkdtemp(join(tmpdir(), "halftone-hub-"));
});
afterAll(async () => {
  await hub.close();
  await rm(scratch, { recursive: true, force: true });
});

function surroundings() {
  return { ...hubSurroundings, variables: { HF_ENDPOINT: hub.endpoint, HF_HOME: join(scratch, "home") } };
}

/** Every file and link below a folder, as the reference script describes them. */
async function layout(folder: string): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const name = relative(folder, path);
    if (entry.isSymbolicLink()) {
      found[name] = { link: await readlink(path) };
    } else if (entry.isFile() && name.includes("/blobs/")) {
      found[name] = { bytes: (await lstat(path)).size };
    } else if (entry.isFile()) {
      const text = await readFile(path, "utf8");
      found[name] = { text: name === "CACHEDIR.TAG" ? text.split("\n")[0] : text };
    }
  }
  return found;
}

test.each(cases)("$id, variant $variant: the files that diffusers fetches, and no others", async ({ id, variant, files, error }) => {
  const cacheDir = await mkdtemp(join(scratch, "selection-"));
  const resolving = resolveModel(id, { cacheDir, variant: variant ?? undefined }, surroundings());
  if (files === undefined) {
    expect(error).toContain("no such modeling files");
    await expect(resolving).rejects.toThrow(`no component has weights of the variant "${variant}"`);
    return;
  }
  const { folder } = await resolving;
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const got = entries.filter((entry) => !entry.isDirectory()).map((entry) => relative(folder, join(entry.parentPath, entry.name)));
  expect(got.sort()).toEqual([...files].sort());
});

test("the cache has the layout of huggingface_hub's, file by file", async () => {
  const cacheDir = join(scratch, "layout");
  const { folder, commit, revision } = await resolveModel(python.id, { cacheDir }, surroundings());
  expect(await layout(cacheDir)).toEqual(python.layout);
  expect({ folder, commit, revision }).toEqual({
    folder: join(cacheDir, "models--maker--sigma", "snapshots", "c".repeat(40)),
    commit: "c".repeat(40),
    revision: "main",
  });
});
