import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openFile } from "./file-source-node.ts";
import { memorySource } from "./memory-source.ts";
import { StagedFolder } from "./staged-folder-node.ts";

let parent: string;
let target: string;

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "halftone-staged-"));
  target = join(parent, "model");
});
afterEach(() => {
  rmSync(parent, { recursive: true });
});

/** Writes a folder that says who wrote it. */
async function write(text: string, options: Parameters<typeof StagedFolder.create>[1] = {}): Promise<void> {
  const staged = await StagedFolder.create(target, options);
  await staged.writeText("config.json", text);
  await staged.finish();
}

const content = (name = "config.json") => readFileSync(join(target, name), "utf8");

describe("StagedFolder", () => {
  test("appears whole: small files, folders, weights that are linked, others that are copied", async () => {
    writeFileSync(join(parent, "w.safetensors"), "weights");
    writeFileSync(join(parent, "tokenizer.json"), "{}");
    const staged = await StagedFolder.create(target);
    await staged.makeFolder("vae");
    await staged.writeText("vae/config.json", "{}");
    for (const name of ["w.safetensors", "tokenizer.json"]) {
      const source = await openFile(join(parent, name));
      await staged.take(source, `vae/${name}`);
      await source.close();
    }
    await staged.take(memorySource("far", Uint8Array.from([97, 98])), "vae/far.safetensors");
    expect(existsSync(target)).toBe(false);
    await staged.finish();
    expect(readdirSync(parent).sort()).toEqual(["model", "tokenizer.json", "w.safetensors"]);
    expect(readdirSync(join(target, "vae")).sort()).toEqual(["config.json", "far.safetensors", "tokenizer.json", "w.safetensors"]);
    expect(content("vae/far.safetensors")).toBe("ab");
    expect(statSync(join(target, "vae/w.safetensors")).ino).toBe(statSync(join(parent, "w.safetensors")).ino);
    expect(statSync(join(target, "vae/tokenizer.json")).ino).not.toBe(statSync(join(parent, "tokenizer.json")).ino);
  });

  test("given up, it leaves nothing", async () => {
    const staged = await StagedFolder.create(target);
    await staged.writeText("config.json", "{}");
    await staged.abort();
    expect(readdirSync(parent)).toEqual([]);
  });

  test("an empty folder is taken, a full one only with force, and then replaced as a whole", async () => {
    mkdirSync(target);
    await write("one");
    await expect(write("two")).rejects.toThrow(`folder "${target}" exists and is not empty`);
    writeFileSync(join(target, "extra"), "");
    await write("two", { force: true });
    expect(content()).toBe("two");
    expect(readdirSync(target)).toEqual(["config.json"]);
    expect(readdirSync(parent)).toEqual(["model"]);
  });

  test("a folder that was taken in the meantime is not replaced without force", async () => {
    const staged = await StagedFolder.create(target);
    await write("other");
    await expect(staged.finish()).rejects.toThrow("exists and is not empty");
    expect(content()).toBe("other");
    expect(readdirSync(parent)).toEqual(["model"]);
  });

  test("a link is followed, and stays", async () => {
    mkdirSync(join(parent, "real"));
    symlinkSync("real", target);
    await write("one");
    expect(readFileSync(join(parent, "real", "config.json"), "utf8")).toBe("one");
    expect(readdirSync(parent).sort()).toEqual(["model", "real"]);
  });

  test("force does not replace what is no model, a file, or a folder that is read", async () => {
    mkdirSync(target);
    writeFileSync(join(target, "thesis.tex"), "");
    await expect(write("two", { force: true })).rejects.toThrow(
      `folder "${target}" holds files that are not a model's, so it is not replaced`,
    );
    writeFileSync(join(target, "config.json"), "mine");
    for (const source of [target, join(target, "inside"), parent]) {
      await expect(write("two", { force: true, sources: [source] })).rejects.toThrow("is the model that is read, so it is not replaced");
    }
    await write("beside", { force: true, sources: [join(parent, "model-2")] });
    rmSync(target, { recursive: true });
    writeFileSync(target, "");
    await expect(write("two", { force: true })).rejects.toThrow(`"${target}" is a file, expected a folder`);
    target = join(parent, "no", "model");
    await expect(write("two")).rejects.toThrow(`folder "${join(parent, "no")}" does not exist`);
    expect(readdirSync(parent)).toEqual(["model"]);
  });

  test("two that write the same folder at once: one of them is there, whole, and nothing else", async () => {
    const staged = await Promise.all(Array.from({ length: 8 }, () => StagedFolder.create(target, { force: true })));
    await Promise.all(
      staged.map(async (folder, i) => {
        await folder.writeText("config.json", `${i}`);
        await folder.writeText("other", `${i}`);
        await folder.finish();
      }),
    );
    expect(content("other")).toBe(content());
    expect(readdirSync(parent)).toEqual(["model"]);
  });
});

describe("what a killed process left", () => {
  /** Hidden names as a process that is gone would have given them. */
  async function leftovers(kinds: readonly ("new" | "old")[]): Promise<string[]> {
    const staged = await StagedFolder.create(target);
    const gone = spawnSync("true").pid;
    const names = kinds.map((kind) => staged.path.replace(`-${process.pid}-`, `-${gone}-`).replace(/new$/, kind));
    await staged.abort();
    for (const name of names) {
      mkdirSync(name);
      writeFileSync(join(name, "config.json"), "left");
    }
    return names;
  }

  test("is removed when the folder is there", async () => {
    await write("one");
    rmSync(target, { recursive: true });
    await leftovers(["new"]);
    await write("two");
    const [old] = await leftovers2();
    expect(existsSync(old)).toBe(true);
    await write("three", { force: true });
    expect(readdirSync(parent)).toEqual(["model"]);
    expect(content()).toBe("three");
  });

  /** The same, of a folder that exists. */
  async function leftovers2(): Promise<[string]> {
    const staged = await StagedFolder.create(target, { force: true });
    const name = staged.path.replace(`-${process.pid}-`, `-${spawnSync("true").pid}-`).replace(/new$/, "old");
    await staged.abort();
    mkdirSync(name);
    return [name];
  }

  test("takes its name again when it was killed between the old and the new", async () => {
    await leftovers(["old", "new"]);
    await expect(write("two")).rejects.toThrow("exists and is not empty");
    expect(content()).toBe("left");
    expect(readdirSync(parent)).toEqual(["model"]);
  });

  test("of a living process, and of other folders, is let alone", async () => {
    const other = await StagedFolder.create(join(parent, "model-2"));
    const same = await StagedFolder.create(target);
    await write("one");
    expect(existsSync(other.path)).toBe(true);
    expect(existsSync(same.path)).toBe(true);
    await other.abort();
    await same.abort();
  });
});

describe("a disk", () => {
  test("without enough room is refused before the work", async () => {
    await expect(write("x", { expectedBytes: 1e15 })).rejects.toThrow(/has \d+ bytes free, expected at least 1000000000000000/);
    expect(readdirSync(parent)).toEqual([]);
  });

  const canMount = process.getuid?.() === 0 && spawnSync("unshare", ["--mount", "true"]).status === 0;
  test.skipIf(!canMount)("that becomes full is named, and nothing is left (skipped where no disk can be mounted)", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", parent]);
    try {
      const staged = await StagedFolder.create(target);
      const large = memorySource("far", new Uint8Array(2 ** 18));
      await expect(staged.take(large, "w.safetensors")).rejects.toThrow(
        `the disk is full: "${join(target, "w.safetensors")}" was not written`,
      );
      await staged.abort();
      expect(readdirSync(parent)).toEqual([]);
    } finally {
      execFileSync("umount", [parent]);
    }
  });

  test.skipIf(process.getuid?.() === 0)("that may not be written is named (skipped for root, whom nothing stops)", async () => {
    chmodSync(parent, 0o555);
    await expect(write("x")).rejects.toThrow(`no permission to write "${target}"`);
    chmodSync(parent, 0o755);
  });
});
