/**
 * Proves that the import rules bite: plants every import that a room could write, in a copy of the lint configuration, and compares what
 * Biome refuses with the table below. (That the sources keep the rules is `npm run check`'s work.)
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Which rooms a room may import; each may also import errors.ts (but the command line, which uses ../index.ts alone). */
const MAY_IMPORT: Record<string, readonly string[]> = {
  tensor: [],
  checkpoint: ["tensor"],
  quant: ["tensor", "checkpoint"],
  graph: ["tensor", "checkpoint", "quant"],
  nn: ["tensor", "checkpoint", "quant", "graph"],
  models: ["tensor", "checkpoint", "quant", "graph", "nn"],
  random: ["tensor", "checkpoint"],
  image: ["tensor", "checkpoint"],
  tokenizers: ["tensor", "checkpoint"],
  schedulers: ["tensor", "checkpoint"],
  hub: ["tensor", "checkpoint"],
  runtime: ["tensor", "checkpoint", "graph"],
  pipelines: [
    ...["tensor", "checkpoint", "quant", "graph", "nn", "models"],
    ...["random", "image", "tokenizers", "schedulers", "hub", "runtime"],
  ],
  cli: [],
};
const ROOMS = Object.keys(MAY_IMPORT);
const RULES = /noRestrictedImports|noNodejsModules|noProcessGlobal|noRestrictedGlobals|noImportCycles|plugin/;

/** A planted file: each line of `refused` must be reported, no line of `allowed` may be. */
interface Plant {
  path: string;
  refused: readonly string[];
  allowed: readonly string[];
}

const read = (specifier: string) => `import "${specifier}";`;
const up = (path: string) => "../".repeat(path.split("/").length - 2);

function plant(path: string, refused: readonly string[], allowed: readonly string[]): Plant {
  return { path, refused: refused.map(read), allowed: allowed.map(read) };
}

/** What a file of a room may and may not import, apart from platform modules and the engine. */
function roomImports(room: string, path: string): { refused: string[]; allowed: string[] } {
  const target = (other: string) => `${up(path)}${other}/thing.ts`;
  const others = ROOMS.filter((other) => other !== room);
  const isAllowed = (other: string) => MAY_IMPORT[room]?.includes(other) === true;
  const surface = [`${up(path)}errors.ts`, `${up(path)}index.ts`];
  if (room === "cli") surface.reverse();
  const [may, mayNot] = surface as [string, string];
  return {
    refused: [...others.filter((other) => !isAllowed(other)).map(target), mayNot],
    allowed: [...others.filter(isAllowed).map(target), may, "./beside.ts", "./below/deeper.ts", "valibot"],
  };
}

function roomPlants(room: string): Plant[] {
  const files = [`src/${room}/planted.ts`, `src/${room}/planted-node.ts`, `src/${room}/below/planted.ts`];
  return files.map((path) => {
    const { refused, allowed } = roomImports(room, path);
    const node = path.endsWith("-node.ts") || room === "cli";
    const engine = room === "runtime" && path.endsWith("-node.ts");
    for (const module of ["node:fs", "node:fs/promises", "fs"]) (node ? allowed : refused).push(module);
    for (const module of ["onnxruntime-node", "onnxruntime-web"]) (engine ? allowed : refused).push(module);
    return plant(path, refused, allowed);
  });
}

const plants: Plant[] = [
  ...ROOMS.flatMap(roomPlants),
  plant("src/errors.ts", ["./tensor/dtype.ts", "./other.ts", "onnxruntime-node", "node:fs"], []),
  plant(
    "src/index.ts",
    ["./cli/main.ts", "onnxruntime-node", "node:fs"],
    ["./errors.ts", ...ROOMS.slice(0, -1).map((room) => `./${room}/a.ts`)],
  ),
  plant("src/tensor/planted.test.ts", [], ["../pipelines/pixart.ts", "node:fs", "onnxruntime-node", "vitest"]),
  plant("src/runtime/planted.contract.ts", [], ["../models/pixart/model.ts", "node:fs"]),
  {
    path: "src/graph/forms.ts",
    refused: [
      `import type { A } from "../nn/linear.ts";`,
      `import { type B } from "../nn/linear.ts";`,
      `export { c } from "../nn/linear.ts";`,
      `export type { D } from "../nn/linear.ts";`,
      `export * from "../nn/linear.ts";`,
      `export const e = await import("../nn/linear.ts");`,
      `export type F = import("../nn/linear.ts").F;`,
      `import "./../nn/linear.ts";`,
      `import "../tensor/../nn/linear.ts";`,
      "export const g = process.pid;",
      `export const h = Buffer.from("h");`,
    ],
    allowed: [`import type { DType } from "../tensor/dtype.ts";`],
  },
  { path: "src/pipelines/events.ts", refused: [], allowed: [`import type { GeneratedImage } from "../image/image.ts";`] },
  { path: "src/nn/cycle.ts", refused: [`import { b } from "./cycle-partner.ts";`], allowed: ["export const a = () => b;"] },
  { path: "src/nn/cycle-partner.ts", refused: [`import { a } from "./cycle.ts";`], allowed: ["export const b = () => a;"] },
];

describe("import rules", () => {
  const folder = mkdtempSync(join(tmpdir(), "halftone-imports-"));
  let refusals: Map<string, Set<number>>;

  beforeAll(() => {
    for (const name of ["biome.json", "biome.imports.json", ".gitignore", "test/architecture/import-types.grit"])
      cpSync(join(root, name), join(folder, name), { recursive: true });
    for (const { path, refused, allowed } of plants) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), [...refused, ...allowed].join("\n"));
    }
    refusals = lint(folder);
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  test.each(plants.map((one) => [one.path, one] as const))("%s", (path, { refused, allowed }) => {
    const lines = [...refused, ...allowed];
    const got = Array.from(refusals.get(path) ?? [], (line) => lines[line - 1]);
    expect(got.sort()).toEqual([...refused].sort());
  });
});

test("every folder of src is a room of the table", () => {
  const folders = readdirSync(join(root, "src"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  expect(ROOMS).toEqual(expect.arrayContaining(folders.map(({ name }) => name)));
});

test("no folder is a drawer for odds and ends", () => {
  const folders = ["src", "test"].flatMap((top) =>
    readdirSync(join(root, top), { recursive: true, withFileTypes: true }).filter((entry) => entry.isDirectory()),
  );
  expect(folders.length).toBeGreaterThan(10);
  expect(folders.filter(({ name }) => /^(utils?|helpers?|common|misc|lib)$/.test(name)).map(({ name }) => name)).toEqual([]);
});

test("package.json's check runs these rules and stops at warnings", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: Record<string, string> };
  expect(scripts.check).toContain("biome check --error-on-warnings .");
});

/** Lines that the rules report, by path. */
function lint(folder: string): Map<string, Set<number>> {
  const found = new Map<string, Set<number>>();
  for (const { category, location } of runBiome(folder).diagnostics) {
    if (!RULES.test(category)) continue;
    const lines = found.get(location.path) ?? new Set();
    found.set(location.path, lines.add(location.start.line));
  }
  return found;
}

interface BiomeReport {
  diagnostics: { category: string; location: { path: string; start: { line: number } } }[];
}

/** Biome ends with 1 when it finds something, as it must here. */
function runBiome(folder: string): BiomeReport {
  const biome = join(root, "node_modules/@biomejs/biome/bin/biome");
  try {
    execFileSync(process.execPath, [biome, "lint", "--reporter=json", "--max-diagnostics=none", "."], {
      cwd: folder,
      encoding: "utf8",
      stdio: "pipe",
    });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    if (stdout.startsWith("{")) return JSON.parse(stdout) as BiomeReport;
    throw new Error(`Biome did not run: ${stderr}`);
  }
  throw new Error("Biome found nothing to refuse in the planted files");
}
