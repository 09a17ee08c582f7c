import { expect, test } from "vitest";
import { isCommit, isHubId, isSafePath, repositoryFolderName } from "./hub-id.ts";
import { parseCachedListing, parseServerEntry, printCachedListing } from "./listing.ts";

test.each(["PixArt-alpha/PixArt-Sigma-XL-2-1024-MS", "a/b", "org_1/model.v2"])("%s is a model id", (text) => {
  expect(isHubId(text)).toBe(true);
});

test.each([
  "gpt2",
  "a/b/c",
  "./models",
  "../models",
  "/a/b",
  "a/",
  "a/-b",
  "a--b/c",
  "a/b.git",
  "a/..",
  "a b/c",
  "a/b?x",
  "é/b",
  `a/${"x".repeat(97)}`,
])("%s is not", (text) => {
  expect(isHubId(text)).toBe(false);
});

test("commits and folder names", () => {
  expect(isCommit("0123456789abcdef0123456789abcdef01234567")).toBe(true);
  expect(isCommit("0123456")).toBe(false);
  expect(repositoryFolderName("owner/name")).toBe("models--owner--name");
});

test.each(["a.json", "vae/a b.json", "a..b/c", ".gitattributes", "日本/é.txt"])("the path %j is safe", (path) => {
  expect(isSafePath(path)).toBe(true);
});

test.each(["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "C:a", "a/d:b", "a\nb", "a\u0000"])("the path %j is not", (path) => {
  expect(isSafePath(path)).toBe(false);
});

test("a listing survives being written and read", () => {
  const gitId = "c".repeat(40);
  const sha256 = "d".repeat(64);
  const files = [
    parseServerEntry({ type: "file", path: "config.json", size: 5, oid: gitId }, "o/n"),
    parseServerEntry(
      { path: "a.safetensors", size: 7, oid: gitId, lfs: { oid: sha256, size: 700, pointerSize: 134 }, xetHash: sha256 },
      "o/n",
    ),
  ];
  expect(files[1]).toEqual({ path: "a.safetensors", sizeBytes: 700, gitId, sha256, xetHash: sha256 });
  const listing = new Map(files.map((file) => [file.path, file]));
  expect(parseCachedListing(printCachedListing(listing))).toEqual(new Map([...listing].reverse()));
});

test.each([
  "",
  "{",
  "[]",
  '{"format_version": 2, "files": {}}',
  '{"format_version": 1, "files": {"a": {"size": 1, "blob_id": "../../x"}}}',
])("the cached listing %j is not trusted", (text) => {
  expect(parseCachedListing(text)).toBeUndefined();
});
