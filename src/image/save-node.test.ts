import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkWritableFile, writeWholeFile } from "./save-node.ts";

const BYTES = Uint8Array.of(1, 2, 3);
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "halftone-save-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe("writeWholeFile", () => {
  test("writes a file and leaves nothing else", async () => {
    await writeWholeFile(join(folder, "a.png"), BYTES);
    expect(readdirSync(folder)).toEqual(["a.png"]);
    expect(new Uint8Array(readFileSync(join(folder, "a.png")))).toEqual(BYTES);
  });

  test("replaces a file, and writes through a symbolic link", async () => {
    writeFileSync(join(folder, "real.png"), "old");
    symlinkSync("real.png", join(folder, "link.png"));
    await writeWholeFile(join(folder, "link.png"), BYTES);
    expect(readlinkSync(join(folder, "link.png"))).toBe("real.png");
    expect(new Uint8Array(readFileSync(join(folder, "real.png")))).toEqual(BYTES);
  });

  test("takes a name as long as the disk allows, and refuses a longer one", async () => {
    await writeWholeFile(join(folder, `${"n".repeat(251)}.png`), BYTES);
    await expect(writeWholeFile(join(folder, `${"n".repeat(252)}.png`), BYTES)).rejects.toThrow("is longer than the disk allows");
    expect(readdirSync(folder)).toHaveLength(1);
  });

  test.each([
    ["a folder", "", "is a folder, expected the name of a file"],
    ["a name that ends as a folder's", "new/", "is a folder, expected the name of a file"],
    ["a missing folder", "missing/a.png", 'missing" does not exist'],
    ["a file as folder", "file/a.png", 'file" is a file, expected a folder'],
  ])("%s is refused and nothing is left", async (_, name, message) => {
    writeFileSync(join(folder, "file"), "");
    const path = `${folder}/${name}`;
    await expect(writeWholeFile(path, BYTES)).rejects.toThrow(
      expect.objectContaining({ name: "FileError", message: expect.stringContaining(message) }),
    );
    expect(readdirSync(folder)).toEqual(["file"]);
  });

  test("a device is never replaced", async () => {
    await expect(writeWholeFile("/dev/null", BYTES)).rejects.toThrow('"/dev/null" is not a regular file, so it is not replaced');
  });
});

describe("checkWritableFile", () => {
  test("touches nothing", async () => {
    await checkWritableFile(join(folder, "a.png"));
    expect(readdirSync(folder)).toEqual([]);
  });

  test.skipIf(process.getuid?.() === 0)(
    "a folder or file without permission is refused (skipped as root, whom nothing stops)",
    async () => {
      mkdirSync(join(folder, "closed"), { mode: 0o555 });
      writeFileSync(join(folder, "closed.png"), "old");
      chmodSync(join(folder, "closed.png"), 0o444);
      await expect(checkWritableFile(join(folder, "closed", "a.png"))).rejects.toThrow("no permission to write");
      await expect(checkWritableFile(join(folder, "closed.png"))).rejects.toThrow("no permission to write");
    },
  );
});

const canMount = process.getuid?.() === 0 && spawnSync("unshare", ["--mount", "true"]).status === 0;

describe("a full disk", () => {
  test.skipIf(!canMount)("keeps the old file and leaves no part of the new one (skipped where no disk can be mounted)", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]);
    try {
      writeFileSync(join(folder, "a.png"), "old");
      await expect(writeWholeFile(join(folder, "a.png"), new Uint8Array(200_000))).rejects.toThrow(
        expect.objectContaining({
          message: `the disk is full: "${join(folder, "a.png")}" was not written`,
          hint: "free some space or write to another disk",
        }),
      );
      expect(readdirSync(folder)).toEqual(["a.png"]);
      expect(readFileSync(join(folder, "a.png"), "utf8")).toBe("old");
    } finally {
      execFileSync("umount", [folder]);
    }
  });
});
