import { lstat, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { COMMIT, failureFrom, ID, smallModel, startBench, WEIGHTS, WEIGHTS_BYTES } from "../../test/support/hub-bench.ts";
import { CheckpointError, DownloadError, UsageError } from "../errors.ts";
import { openHubFolder, resolveModel } from "./hub-node.ts";

const NEXT = "b".repeat(40);

function requests(hub: { seen: { url: string }[] }): string[] {
  return hub.seen.map(({ url }) => url.replace(/\?.*/, ""));
}

test("a branch, a tag and a commit give the same files", async () => {
  const bench = await startBench();
  const repository = bench.hub.repositories[ID];
  if (repository !== undefined) {
    repository.refs.v1 = COMMIT;
  }
  const byBranch = await bench.resolve();
  bench.hub.seen.length = 0;
  expect(await bench.resolve({ revision: "v1" })).toEqual({ ...byBranch, revision: "v1" });
  expect(requests(bench.hub)).toEqual([`/api/models/${ID}/revision/v1`]);
  bench.hub.seen.length = 0;
  expect(await bench.resolve({ revision: COMMIT })).toEqual({ ...byBranch, revision: COMMIT });
  expect(requests(bench.hub)).toEqual([]);
  const refs = join(bench.cacheDir, "models--maker--model", "refs");
  expect(await readdir(refs)).toEqual(["main", "v1"]);
  expect(await readFile(join(refs, "v1"), "utf8")).toBe(COMMIT);
});

test("a new commit fetches what changed, and keeps the old one", async () => {
  const bench = await startBench();
  const old = await bench.resolve();
  const repository = bench.hub.repositories[ID];
  if (repository !== undefined) {
    repository.commits[NEXT] = { ...repository.commits[COMMIT], "scheduler/scheduler_config.json": "{}" };
    repository.refs.main = NEXT;
  }
  bench.hub.seen.length = 0;
  const now = await bench.resolve();
  expect(now.commit).toBe(NEXT);
  expect(bench.hub.fetched()).toEqual([`hub /${ID}/resolve/${NEXT}/scheduler/scheduler_config.json`]);
  expect(await readFile(join(old.folder, "scheduler/scheduler_config.json"), "utf8")).toContain("Euler");
  expect(await readFile(join(now.folder, "scheduler/scheduler_config.json"), "utf8")).toBe("{}");
});

test("only the components that are needed are fetched", async () => {
  const bench = await startBench();
  const seen: string[] = [];
  const { folder } = await bench.resolve({
    needs: (component, className) => {
      seen.push(`${component}: ${className}`);
      return component !== "vae";
    },
  });
  expect(seen).toEqual(["scheduler: EulerDiscreteScheduler", "vae: AutoencoderKL"]);
  expect(await readdir(folder)).toEqual(["model_index.json", "scheduler"]);
});

test("a subfolder may hold a component or a whole pipeline", async () => {
  const inside = Object.fromEntries(Object.entries(smallModel()).map(([path, content]) => [`inner/${path}`, content]));
  const bench = await startBench({ [ID]: { refs: { main: COMMIT }, commits: { [COMMIT]: { "README.md": "x", ...inside } } } });
  const component = await bench.resolve({ subfolder: "inner/vae" });
  expect((await readdir(component.folder)).sort()).toEqual(["config.json", "diffusion_pytorch_model.safetensors"]);
  const pipeline = await bench.resolve({ subfolder: "inner" });
  expect((await readdir(pipeline.folder)).sort()).toEqual(["model_index.json", "scheduler", "vae"]);
  const error = await failureFrom(bench.resolve());
  expect(error).toBeInstanceOf(CheckpointError);
  expect(error.message).toBe(
    `${ID} has no model_index.json, expected a model in diffusers' layout, got README.md, inner/README.md, inner/model_index.json, inner/scheduler/scheduler_config.json`,
  );
});

test.each([
  ["not an id", {}, '"not an id" is not a model id, expected "owner/name"'],
  ["maker/../x", {}, '"maker/../x" is not a model id, expected "owner/name"'],
  [ID, { revision: "../../etc" }, '"../../etc" is not a revision, expected a branch, a tag or a commit'],
  [ID, { variant: "a/b" }, '"a/b" is not a variant, expected a word such as "fp16"'],
  [ID, { subfolder: "../vae" }, '"../vae" is not a subfolder, expected a relative path such as "transformer"'],
])("%s with %o is refused before anything is sent", async (id, options, message) => {
  const { surroundings, cacheDir, hub } = await startBench();
  const error = await failureFrom(resolveModel(id, { cacheDir, ...options }, surroundings));
  expect(error).toBeInstanceOf(UsageError);
  expect(error.message).toBe(message);
  expect(hub.seen).toEqual([]);
});

test("offline a complete copy is used without a request", async () => {
  const bench = await startBench();
  const online = await bench.resolve();
  bench.hub.seen.length = 0;
  expect(await bench.resolve({ offline: true })).toEqual(online);
  const { variables } = bench.surroundings;
  expect(await bench.resolve({ offline: false }, { variables: { ...variables, HF_HUB_OFFLINE: "1" } })).toEqual(online);
  expect(bench.hub.seen).toEqual([]);
});

test("offline the error names what is missing", async () => {
  const bench = await startBench();
  const nothing = await failureFrom(bench.resolve({ offline: true }));
  expect(nothing).toBeInstanceOf(DownloadError);
  expect(nothing.message).toBe(`${ID} at revision "main" is not in the cache`);
  expect(nothing.hint).toBe("fetch it once with a network, without --offline (localFilesOnly) or HF_HUB_OFFLINE");

  const { folder } = await bench.resolve();
  await rm(join(folder, WEIGHTS));
  expect((await failureFrom(bench.resolve({ offline: true }))).message).toBe(`the cached copy of ${ID} lacks ${WEIGHTS}`);
  await rm(join(folder, "model_index.json"));
  expect((await failureFrom(bench.resolve({ offline: true }))).message).toBe(`the cached copy of ${ID} lacks model_index.json`);
  await bench.resolve();
  await truncate(join(folder, WEIGHTS), 1000);
  expect((await failureFrom(bench.resolve({ offline: true }))).message).toBe(`the cached copy of ${ID} lacks ${WEIGHTS}`);
  await bench.resolve();
  expect((await readFile(join(folder, WEIGHTS))).length).toBe(WEIGHTS_BYTES);
});

test("offline without a listing, the files themselves tell what is missing", async () => {
  const index = JSON.stringify({ weight_map: { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" } });
  const files = {
    "model_index.json": JSON.stringify({
      _class_name: "X",
      text_encoder: ["transformers", "T5EncoderModel"],
      vae: ["diffusers", "AutoencoderKL"],
    }),
    "text_encoder/config.json": "{}",
    "text_encoder/model.safetensors.index.json": index,
    "text_encoder/model-00001-of-00002.safetensors": "one",
    "text_encoder/model-00002-of-00002.safetensors": "two",
    "vae/config.json": "{}",
    [WEIGHTS]: "three",
  };
  const bench = await startBench({ [ID]: { refs: { main: COMMIT }, commits: { [COMMIT]: files } } });
  const { folder } = await bench.resolve();
  await rm(join(bench.cacheDir, "models--maker--model", "trees"), { recursive: true });
  expect((await bench.resolve({ offline: true })).folder).toBe(folder);
  await rm(join(folder, "text_encoder/model-00002-of-00002.safetensors"));
  await rm(join(folder, WEIGHTS));
  expect((await failureFrom(bench.resolve({ offline: true }))).message).toBe(
    `the cached copy of ${ID} lacks text_encoder/model-00002-of-00002.safetensors and 1 more`,
  );
});

test("without a network the cached copy is used with a warning", async () => {
  const bench = await startBench();
  const online = await bench.resolve();
  const { endpoint } = bench.hub;
  await bench.hub.close();
  bench.events.length = 0;
  expect(await bench.resolve()).toEqual(online);
  const host = endpoint.replace("http://", "");
  expect(bench.events).toEqual([
    {
      type: "warning",
      message: `no connection to ${host}: connect ECONNREFUSED ${host}; the cached copy of ${ID} is used (commit ${COMMIT})`,
    },
  ]);
  await rm(bench.cacheDir, { recursive: true });
  const error = await failureFrom(bench.resolve());
  expect(error).toBeInstanceOf(DownloadError);
  expect(error.message).toBe(`no connection to ${host}: connect ECONNREFUSED ${host}`);
  expect(error.hint).toBe(`${ID} at revision "main" is not in the cache`);
});

test("a Hub that fails, or a token that expired, leaves the cached copy in use; a revision that is gone does not", async () => {
  const bench = await startBench();
  const online = await bench.resolve();
  bench.hub.faults["/api/models"] = { status: 503 };
  expect(await bench.resolve()).toEqual(online);
  expect(bench.events.at(-1)).toMatchObject({ type: "warning", message: expect.stringContaining("the server fails to answer (HTTP 503)") });
  bench.hub.faults = {};
  expect(await bench.resolve({ token: "hf_expired" })).toEqual(online);
  const repository = bench.hub.repositories[ID];
  if (repository !== undefined) {
    repository.refs = {};
  }
  expect((await failureFrom(bench.resolve())).message).toBe(`${ID} has no revision "main" (HTTP 404)`);
});

test("a copy without symbolic links is complete as well", async () => {
  const bench = await startBench();
  const variables = { ...bench.surroundings.variables, HF_HUB_DISABLE_SYMLINKS: "1" };
  const { folder } = await bench.resolve({}, { variables });
  expect((await lstat(join(folder, WEIGHTS))).isFile()).toBe(true);
  expect(await bench.blobs()).toEqual([]);
  bench.hub.seen.length = 0;
  await bench.resolve({}, { variables });
  await bench.resolve({ offline: true });
  expect(bench.hub.fetched()).toEqual([]);
});

test("a blob that is there already, and a link that leads nowhere, are put right without fetching twice", async () => {
  const bench = await startBench();
  const { folder } = await bench.resolve();
  const link = join(folder, WEIGHTS);
  await rm(link);
  await symlink("../nowhere", link);
  bench.hub.seen.length = 0;
  await bench.resolve();
  expect(bench.hub.fetched()).toEqual([]);
  expect((await readFile(link)).length).toBe(WEIGHTS_BYTES);
});

test.each([
  "../evil.json",
  "/etc/evil.json",
  "scheduler/../../../evil.json",
  "scheduler/..\\evil.json",
  "C:/evil.json",
  "scheduler/a\u0000b",
])("a server that lists %j writes nothing there", async (path) => {
  const bench = await startBench();
  const name = path.startsWith("scheduler") ? path : `scheduler/${path}`;
  bench.hub.extraEntries = [{ type: "file", path: name, size: 2, oid: "c".repeat(40) }];
  const error = await failureFrom(bench.resolve());
  expect(error).toBeInstanceOf(DownloadError);
  expect(error.message).toBe(`the repository names a file ${JSON.stringify(name)}, which would be written outside of its folder`);
  expect((await bench.blobs()).length).toBeLessThanOrEqual(1);
});

test.each([
  [{ type: "file", path: "x", size: 2, oid: "../../evil" }, "oid"],
  [{ type: "file", path: "x", size: 2, oid: "c".repeat(40), lfs: { oid: "../x", size: 2 } }, "lfs.oid"],
  [{ type: "file", path: "x", size: -1, oid: "c".repeat(40) }, "size"],
  [{ type: "file", path: 7, size: 1, oid: "c".repeat(40) }, "path"],
])("a listing with %o is refused", async (entry, field) => {
  const bench = await startBench();
  bench.hub.extraEntries = [entry];
  const error = await failureFrom(bench.resolve());
  expect(error).toBeInstanceOf(DownloadError);
  expect(error.message).toContain(`the Hub lists a file without a usable ${field}: `);
});

test("a listing of many pages is read to its end", async () => {
  const bench = await startBench();
  bench.hub.pageSize = 1000;
  bench.hub.extraEntries = Array.from({ length: 25_000 }, (_, i) => ({
    type: "file",
    path: `data/${i}.json`,
    size: 2,
    oid: "c".repeat(40),
  }));
  const { folder } = await bench.resolve();
  expect((await readdir(folder)).sort()).toEqual(["model_index.json", "scheduler", "vae"]);
  expect(bench.hub.seen.filter(({ url }) => url.includes("/tree/"))).toHaveLength(26);
});

test("no other host gets the token: neither the one of a redirect nor the one of a page link", async () => {
  const bench = await startBench();
  const repository = bench.hub.repositories[ID];
  if (repository !== undefined) {
    repository.token = "hf_secret";
  }
  await bench.resolve({ token: "hf_secret" });
  const storage = bench.hub.seen.filter(({ host }) => host === "storage");
  expect(storage.length).toBeGreaterThan(0);
  expect(storage.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  const hub = bench.hub.seen.filter(({ host }) => host === "hub");
  expect(hub.every(({ headers }) => headers.authorization === "Bearer hf_secret")).toBe(true);

  bench.hub.seen.length = 0;
  bench.hub.pageSize = 2;
  bench.hub.pageHost = bench.hub.storageEndpoint;
  await rm(join(bench.cacheDir, "models--maker--model"), { recursive: true });
  expect(await failureFrom(bench.resolve({ token: "hf_secret" }))).toBeInstanceOf(DownloadError);
  const page = bench.hub.seen.find(({ host }) => host === "storage");
  expect(page?.url).toContain("cursor=2");
  expect(page?.headers.authorization).toBeUndefined();
});

test("a cache that can't be written is an error that says so", async () => {
  const bench = await startBench();
  await writeFile(join(bench.cacheDir, "models--maker--model"), "in the way");
  const error = await failureFrom(bench.resolve());
  expect(error.message).toBe("the cache of models can't be written: a file is in the way of a folder");
  expect(error.where).toBe(bench.cacheDir);
});

test("model_index.json that is no index names the file", async () => {
  const bench = await startBench({ [ID]: { refs: { main: COMMIT }, commits: { [COMMIT]: { "model_index.json": "{" } } } });
  const error = await failureFrom(bench.resolve());
  expect(error).toBeInstanceOf(CheckpointError);
  expect(error.message).toBe("model_index.json is not JSON");
  expect(error.where).toBe(`${ID}: model_index.json`);
});

test("openHubFolder reads ranges of a pinned commit, and the cache where it has the file", async () => {
  const bench = await startBench();
  const folder = await openHubFolder(ID, { cacheDir: bench.cacheDir, subfolder: "vae" }, bench.surroundings);
  expect(folder.name).toBe(`${bench.hub.endpoint}/${ID}/resolve/${COMMIT}/vae`);
  expect(await folder.list()).toEqual(["config.json", "diffusion_pytorch_model.safetensors"]);
  expect(await folder.open("absent.json")).toBeUndefined();
  const source = await folder.open("diffusion_pytorch_model.safetensors");
  const right = smallModel()[WEIGHTS];
  expect(source?.sizeBytes).toBe(WEIGHTS_BYTES);
  expect(await source?.read(1000, 64)).toEqual((right as Uint8Array).slice(1000, 1064));
  await source?.close();
  await mkdir(join(bench.cacheDir, "x"));
  expect(await readdir(bench.cacheDir)).toEqual(["x"]);

  await bench.resolve();
  bench.hub.seen.length = 0;
  const local = await (await openHubFolder(ID, { cacheDir: bench.cacheDir }, bench.surroundings)).open(WEIGHTS);
  expect(await local?.read(0, 4)).toEqual((right as Uint8Array).slice(0, 4));
  await local?.close();
  expect(bench.hub.fetched()).toEqual([]);
  const offline = await openHubFolder(ID, { cacheDir: bench.cacheDir, offline: true }, bench.surroundings);
  expect(await offline.list()).toContain(WEIGHTS);
});
