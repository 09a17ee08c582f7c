import { appendFile, chmod, mkdir, mkdtemp, realpath, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { byteSourceContract, folderContract } from "./byte-source.contract.ts";
import type { ByteSource } from "./byte-source.ts";
import { openFile, openFolder } from "./file-source-node.ts";

let folder: string;
const opened: ByteSource[] = [];

beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), "halftone-files-")));
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((source) => source.close()));
  await rm(folder, { recursive: true, force: true });
});

async function write(path: string, content: string | Uint8Array): Promise<string> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), content);
  return join(folder, path);
}

async function open(path: string): Promise<ByteSource> {
  const source = await openFile(path);
  opened.push(source);
  return source;
}

describe("openFile", () => {
  let count = 0;
  byteSourceContract(async (bytes) => open(await write(`${count++}.bin`, bytes)));

  it("gives the real folder and file name of a link", async () => {
    const real = await write("blobs/abc", "12345");
    await mkdir(join(folder, "snapshots"));
    await symlink("../blobs/abc", join(folder, "snapshots/model.safetensors"));
    const source = await open(join(folder, "snapshots/model.safetensors"));
    expect(source.file).toEqual({ folder: dirname(real), fileName: "abc" });
    expect(source.name).toBe(join(folder, "snapshots/model.safetensors"));
    expect(await source.read(1, 3)).toEqual(Uint8Array.of(0x32, 0x33, 0x34));
  });

  it("reads more than one piece of 64 MiB, and stops between two", async () => {
    const path = await write("large.bin", "begin");
    const length = 130 * 2 ** 20;
    await truncate(path, length);
    await appendFile(path, "end");
    const source = await open(path);
    const bytes = await source.read(2, length + 1);
    expect(Buffer.from(bytes.subarray(0, 4)).toString()).toBe("gin\0");
    expect(Buffer.from(bytes.subarray(-4)).toString()).toBe("\0end");
    const controller = new AbortController();
    const reading = caught(source.read(0, length, controller.signal));
    controller.abort();
    expect((await reading).kind).toBe("CancelledError");
  });

  it("prefetches without a word, whatever the range and whatever becomes of the file", async () => {
    const path = await write(
      "weights.bin",
      Uint8Array.from({ length: 9 * 2 ** 20 }, (_, i) => i % 251),
    );
    const source = await open(path);
    source.prefetch?.(0, source.sizeBytes);
    source.prefetch?.(5 * 2 ** 20, 2 ** 40);
    source.prefetch?.(2 ** 40, 1);
    const read = await source.read(6 * 2 ** 20, 3);
    expect([...read]).toEqual([0, 1, 2].map((i) => (6 * 2 ** 20 + i) % 251));
    await truncate(path, 0);
    source.prefetch?.(0, 2 ** 20);
  });

  it("notices that a file became shorter", async () => {
    const path = await write("a.bin", "0123456789");
    const source = await open(path);
    await truncate(path, 4);
    expect(await caught(source.read(2, 8))).toEqual({
      kind: "CheckpointError",
      message: "the file became shorter while it was read: it had 10 bytes, now 4",
      where: path,
    });
  });

  it("refuses what is no file", async () => {
    const missing = join(folder, "x");
    expect((await caught(openFile(missing))).message).toBe(`file "${missing}" does not exist`);
    expect((await caught(openFile(folder))).message).toBe(`"${folder}" is a folder, expected a file`);
    expect((await caught(openFile("/dev/null"))).message).toBe('"/dev/null" is not a regular file, expected a file');
  });

  it("refuses a link that leads in a circle", async () => {
    const path = join(folder, "loop");
    await symlink("loop", path);
    expect(await caught(openFile(path))).toEqual({
      kind: "FileError",
      message: `"${path}" is a symbolic link that leads in a circle`,
      where: path,
    });
  });
});

describe("openFolder", () => {
  let count = 0;
  folderContract(async (files) => {
    const root = `folder${count++}`;
    for (const [path, text] of Object.entries(files)) await write(`${root}/${path}`, text);
    const made = await openFolder(join(folder, root));
    return {
      ...made,
      open: async (path) => {
        const source = await made.open(path);
        if (source) opened.push({ ...source, close: () => source.close().catch(() => {}) });
        return source;
      },
    };
  });

  it("follows links, but not in circles, and passes over those that lead nowhere", async () => {
    await write("real/a.txt", "");
    await symlink("real", join(folder, "linked"));
    await symlink("..", join(folder, "real/up"));
    await symlink("nowhere", join(folder, "dangling"));
    expect(await (await openFolder(folder)).list()).toEqual(["linked/a.txt", "real/a.txt"]);
    expect(await (await openFolder(folder)).open("dangling")).toBeUndefined();
  });

  it("refuses a path that is missing, a file or an empty folder", async () => {
    const path = await write("model.safetensors", "");
    const empty = join(folder, "empty");
    await mkdir(empty);
    expect(await caught(openFolder(join(folder, "x")))).toEqual({
      kind: "CheckpointError",
      message: `model folder "${folder}/x" does not exist`,
      where: `${folder}/x`,
      hint: "a model id on the Hub has the form owner/name",
    });
    expect(await caught(openFolder(path))).toEqual({
      kind: "CheckpointError",
      message: `model path "${path}" is a file, expected a folder in diffusers' layout`,
      where: path,
      hint: "pass the folder that holds model_index.json",
    });
    expect(await caught(openFolder(empty))).toEqual({ kind: "CheckpointError", message: `model folder "${empty}" is empty`, where: empty });
  });

  it("refuses a folder with more files than a model has", async () => {
    await write("a", "");
    for (let i = 0; i < 17; i++) {
      await mkdir(join(folder, `d${i}`));
      for (const name of ["x", "y"]) await symlink(`../d${i + 1}`, join(folder, `d${i}`, name));
    }
    await mkdir(join(folder, "d17"));
    expect((await caught((await openFolder(folder)).list())).message).toBe(
      `folder "${folder}" holds more than 20000 files, expected a model in diffusers' layout`,
    );
  });

  // Root may read everything, so its rights are dropped for this one, in a process of its own.
  it("names what may not be read", async () => {
    const path = await write("locked/a.txt", "1");
    await chmod(folder, 0o755);
    await chmod(path, 0o000);
    const root = process.getuid?.() === 0;
    if (root) process.seteuid?.(65534);
    try {
      const readable = await openFolder(folder);
      expect(await caught(readable.open("locked/a.txt"))).toEqual({
        kind: "FileError",
        message: `no permission to read "${path}"`,
        where: path,
        hint: "change its permissions or run as its owner",
      });
      if (root) process.seteuid?.(0);
      await chmod(join(folder, "locked"), 0o000);
      if (root) process.seteuid?.(65534);
      expect((await caught(readable.list())).message).toBe(`no permission to read "${folder}/locked"`);
      expect((await caught(openFolder(join(folder, "locked")))).message).toBe(`no permission to read "${folder}/locked"`);
    } finally {
      if (root) process.seteuid?.(0);
      await chmod(join(folder, "locked"), 0o755);
    }
  });
});
