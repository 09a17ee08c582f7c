import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { failureFrom } from "../../test/support/hub-bench.ts";
import { cacheFolder, findToken, hubEndpoint, isOffline, silenceLimitMs, type Variables } from "./environment-node.ts";

async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "halftone-env-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

test.each<[Variables, string]>([
  [{}, join(homedir(), ".cache/huggingface/hub")],
  [{ XDG_CACHE_HOME: "/x" }, "/x/huggingface/hub"],
  [{ XDG_CACHE_HOME: "/x", HF_HOME: "/h" }, "/h/hub"],
  [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" }, "/old"],
  [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "/c" }, "/c"],
  [{ HF_HUB_CACHE: "~/c" }, join(homedir(), "c")],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the text is what is expanded
  [{ HF_HUB_CACHE: "$BASE/${SUB}/$NONE", BASE: "/b", SUB: "s" }, "/b/s/$NONE"],
  [{ HF_HUB_CACHE: "", HF_HOME: "/h" }, "/h/hub"],
])("the cache by %o is %s", (variables, folder) => {
  expect(cacheFolder(variables)).toBe(folder);
});

test("the endpoint", async () => {
  expect(hubEndpoint({})).toBe("https://huggingface.co");
  expect(hubEndpoint({ HF_ENDPOINT: "https://mirror.example/hub//" })).toBe("https://mirror.example/hub");
  const error = await failureFrom(Promise.resolve().then(() => hubEndpoint({ HF_ENDPOINT: "mirror.example" })));
  expect(error.message).toBe('HF_ENDPOINT is "mirror.example", expected an address that starts with https://');
});

test("offline and patience", () => {
  expect([
    isOffline({}),
    isOffline({ HF_HUB_OFFLINE: "0" }),
    isOffline({ HF_HUB_OFFLINE: "true" }),
    isOffline({ TRANSFORMERS_OFFLINE: "1" }),
  ]).toEqual([false, false, true, true]);
  expect([silenceLimitMs({}), silenceLimitMs({ HF_HUB_DOWNLOAD_TIMEOUT: "5" }), silenceLimitMs({ HF_HUB_DOWNLOAD_TIMEOUT: "x" })]).toEqual([
    30_000, 5000, 30_000,
  ]);
});

test("the token: variables first, then the file, or none", async () => {
  const home = await scratch();
  expect(await findToken({ HF_HOME: home })).toBeUndefined();
  await writeFile(join(home, "token"), "hf_file\r\n");
  await writeFile(join(home, "other"), "hf_other");
  expect(await findToken({ HF_HOME: home })).toBe("hf_file");
  expect(await findToken({ HF_HOME: home, HF_TOKEN_PATH: join(home, "other") })).toBe("hf_other");
  expect(await findToken({ HF_HOME: home, HUGGING_FACE_HUB_TOKEN: "hf_old" })).toBe("hf_old");
  expect(await findToken({ HF_HOME: home, HUGGING_FACE_HUB_TOKEN: "hf_old", HF_TOKEN: " hf_new " })).toBe("hf_new");
  expect(await findToken({ HF_HOME: home, HF_TOKEN: "hf_new", HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).toBeUndefined();
  expect(await findToken({ HF_HOME: home, HF_TOKEN: " \n" })).toBe("hf_file");
});

test("a token that is none is never repeated", async () => {
  const error = await failureFrom(findToken({ HF_TOKEN: "hf_sec\nret" }));
  expect(error.message).toBe("the access token has characters that no token has");
  expect(JSON.stringify([error.message, error.where, error.stack])).not.toContain("hf_sec");
});

test("a token file that can not be read is named", async () => {
  const home = await scratch();
  const path = join(home, "folder");
  await mkdir(path);
  const error = await failureFrom(findToken({ HF_TOKEN_PATH: path }));
  expect(error.message).toBe("the file with the Hub's access token can't be read");
  expect(error.where).toBe(path);
});
