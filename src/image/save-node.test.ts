import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkWritableFile, writeWholeFile, writeWholeFiles } from "./save-node.ts";

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

describe("writeWholeFiles", () => {
  const read = (name: string) => readFileSync(join(folder, name), "utf8");
  const file = (name: string, bytes: () => Uint8Array = () => Buffer.from(`new ${name}`)) => ({ path: join(folder, name), bytes });

  test("writes all files, replaces old ones, and leaves nothing else", async () => {
    writeFileSync(join(folder, "b"), "old");
    symlinkSync("b", join(folder, "link"));
    await writeWholeFiles([file("a"), file("link"), file("c")]);
    expect(readdirSync(folder).sort()).toEqual(["a", "b", "c", "link"]);
    expect(["a", "b", "c"].map(read)).toEqual(["new a", "new link", "new c"]);
    expect(readlinkSync(join(folder, "link"))).toBe("b");
  });

  test("asks for the bytes of one file at a time, and shows no file before all are written", async () => {
    const seen: string[][] = [];
    const look = () => {
      seen.push(readdirSync(folder).map((name) => name.replace(/[0-9a-f]{12}/, "…")));
      return BYTES;
    };
    await writeWholeFiles([file("a", look), file("b", look)]);
    expect(seen).toEqual([[], [".halftone-….part"]]);
  });

  test("a file whose bytes cannot be made leaves no other behind, nor harms a hidden file of someone else", async () => {
    writeFileSync(join(folder, "a"), "old");
    writeFileSync(join(folder, ".halftone-0123456789ab.part"), "other");
    const fail = () => {
      throw new RangeError("no memory");
    };
    await expect(writeWholeFiles([file("a"), file("b"), file("c", fail)])).rejects.toThrow(new RangeError("no memory"));
    expect(readdirSync(folder).sort()).toEqual([".halftone-0123456789ab.part", "a"]);
    expect(read("a")).toBe("old");
  });

  test("a path that cannot be written is found before any byte is asked for", async () => {
    const fail = () => {
      throw new Error("asked too early");
    };
    await expect(writeWholeFiles([file("a", fail), file("missing/b")])).rejects.toThrow('missing" does not exist');
    expect(readdirSync(folder)).toEqual([]);
  });

  test("files that are in place already are taken back when a later one finds its place taken", async () => {
    writeFileSync(join(folder, "a"), "old a");
    writeFileSync(join(folder, "real"), "old real");
    symlinkSync("real", join(folder, "link"));
    const late = () => {
      mkdirSync(join(folder, "d"));
      return BYTES;
    };
    // The file behind the link is replaced twice.
    await expect(writeWholeFiles([file("a"), file("b"), file("link"), file("real"), file("d", late)])).rejects.toThrow(
      expect.objectContaining({ name: "FileError", message: `"${join(folder, "d")}" cannot be written (EISDIR)` }),
    );
    expect(readdirSync(folder).sort()).toEqual(["a", "d", "link", "real"]);
    expect(["a", "real"].map(read)).toEqual(["old a", "old real"]);
    expect(readlinkSync(join(folder, "link"))).toBe("real");
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

  test.skipIf(!canMount)("reached by the last of several files leaves none of them (skipped where no disk can be mounted)", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=128k", "tmpfs", folder]);
    try {
      writeFileSync(join(folder, "a"), "old");
      const files = ["a", "b", "c"].map((name) => ({ path: join(folder, name), bytes: () => new Uint8Array(50_000) }));
      await expect(writeWholeFiles(files)).rejects.toThrow(`the disk is full: "${join(folder, "c")}" was not written`);
      expect(readdirSync(folder)).toEqual(["a"]);
      expect(readFileSync(join(folder, "a"), "utf8")).toBe("old");
    } finally {
      execFileSync("umount", [folder]);
    }
  });
});
