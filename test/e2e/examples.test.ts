/**
 * Runs every program of examples/ as a user would, in an empty folder, and holds it to its row in examples/README.md: the table names all
 * examples, and each writes exactly the files that its row promises. `halftone` stands for src/index.ts here (vitest.config.ts).
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { fixturePath } from "../support/fixture.ts";

const folder = fileURLToPath(new URL("../../examples", import.meta.url));
const PNG_SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const MOST_LINES = 40;
/** Models for programs that have no embedded one: what a user would name behind the program. */
const MODELS: Readonly<Record<string, string>> = { "06-sd3-text-encoders.ts": fixturePath("pipelines/sd3") };

/** A row of the table: `| [01-name.ts](01-name.ts) | what it shows | \`a.png\`, \`b.safetensors\` |`. */
const ROW = /^\| \[([^\]]+)\]\(([^)]+)\) \|.*\| ([^|]*) \|$/gm;

const readme = readFileSync(join(folder, "README.md"), "utf8");
const rows = Array.from(readme.matchAll(ROW), ([, file = "", target = "", writes = ""]) => {
  const names = Array.from(writes.matchAll(/`([^`]+)`/g), ([, name = ""]) => name);
  return { file, target, writes: names.sort() };
});

describe("examples", () => {
  const before = process.cwd();
  const argv = process.argv;
  let scratch: string;

  beforeEach(() => {
    scratch = mkdtempSync(join(tmpdir(), "halftone-example-"));
    process.chdir(scratch);
  });

  afterEach(() => {
    process.chdir(before);
    process.argv = argv;
    rmSync(scratch, { recursive: true });
  });

  test("are all named in README.md, by number", () => {
    const programs = readdirSync(folder).filter((name) => name !== "README.md");
    expect(rows.map(({ file }) => file)).toEqual(programs.sort());
    expect(rows.map(({ target }) => target)).toEqual(programs);
    expect(programs.filter((name) => !/^\d\d-[a-z0-9-]+\.ts$/.test(name))).toEqual([]);
  });

  test.each(rows.map((row) => [row.file, row] as const))("%s", async (file, { writes }) => {
    const model = MODELS[file];
    process.argv = [process.execPath, join(folder, file), ...(model === undefined ? [] : [model])];
    await import(join(folder, file));
    const written = readdirSync(scratch).sort();
    expect(written).toEqual(writes);
    for (const name of written.filter((one) => one.endsWith(".png"))) {
      expect(new Uint8Array(readFileSync(join(scratch, name)).subarray(0, PNG_SIGNATURE.length)), name).toEqual(PNG_SIGNATURE);
    }
    expect(readFileSync(join(folder, file), "utf8").trimEnd().split("\n").length).toBeLessThanOrEqual(MOST_LINES);
  });
});
