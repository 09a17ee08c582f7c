/**
 * The real command: compiled once into a folder of its own, and run as a process. Beside it lie links to what the package ships and needs.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** A compiled package. */
export interface CompiledPackage {
  /** Folder of the compiled modules. */
  readonly dist: string;
  remove(): void;
}

/** What a process left behind. */
export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Builds the package's code, as `npm run build` does, into a temporary folder. */
export function compilePackage(): Promise<CompiledPackage> {
  return compileInto(async (dist) => {
    await promisify(execFile)(join(ROOT, "node_modules", ".bin", "rolldown"), ["-c", "-d", dist], { cwd: ROOT });
  });
}

/** Compiles each module by itself, for tests of modules that have to run outside vitest. */
export function compileModules(): Promise<CompiledPackage> {
  return compileInto(async (dist) => {
    const flags = ["-p", join(ROOT, "tsconfig.build.json"), "--emitDeclarationOnly", "false", "--declaration", "false", "--outDir", dist];
    // Types are checked elsewhere; modules are written all the same.
    await promisify(execFile)(join(ROOT, "node_modules", ".bin", "tsc"), flags).catch(() => {});
  });
}

async function compileInto(compile: (dist: string) => Promise<void>): Promise<CompiledPackage> {
  const folder = mkdtempSync(join(tmpdir(), "halftone-package-"));
  // Other users run it too, in the tests of permissions.
  chmodSync(folder, 0o755);
  const dist = join(folder, "dist");
  await compile(dist);
  if (!existsSync(join(dist, "cli", "main.js"))) throw new Error("the package could not be compiled");
  for (const name of ["models", "node_modules"]) symlinkSync(join(ROOT, name), join(folder, name));
  copyFileSync(join(ROOT, "package.json"), join(folder, "package.json"));
  return { dist, remove: () => rmSync(folder, { recursive: true }) };
}

/** The compiled package for all tests of a file, and an empty folder for each; what they hold is there while a test runs. */
export function useCompiledPackage(compile = compilePackage): { readonly dist: string; readonly folder: string } {
  const used = { dist: "", folder: "" };
  let compiled: CompiledPackage;
  beforeAll(async () => {
    compiled = await compile();
    used.dist = compiled.dist;
  });
  afterAll(() => compiled.remove());
  beforeEach(() => {
    used.folder = mkdtempSync(join(tmpdir(), "halftone-e2e-"));
  });
  afterEach(() => {
    // Tests take rights away.
    chmodSync(used.folder, 0o755);
    rmSync(used.folder, { recursive: true });
  });
  return used;
}

/** Starts the command in a folder; `onError` sees what it says on stderr as it comes. */
export function startCommand(
  dist: string,
  folder: string,
  args: readonly string[],
  options: { before?: readonly string[]; env?: NodeJS.ProcessEnv; onError?: (text: string, child: ChildProcess) => void } = {},
): Promise<Finished> {
  const [program = process.execPath, ...rest] = [...(options.before ?? []), process.execPath, join(dist, "cli", "main.js"), ...args];
  const child = spawn(program, rest, { cwd: folder, stdio: ["ignore", "pipe", "pipe"], env: options.env ?? process.env });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
    options.onError?.(text, child);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** Words that run a command as a user whom permissions stop; undefined where that is not possible. */
export function withoutRootsRights(dist: string): readonly string[] | undefined {
  if (process.getuid?.() !== 0) return [];
  const words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const [program = "", ...rest] = [...words, process.execPath, "--check", join(dist, "cli", "main.js")];
  return spawnSync(program, rest).status === 0 ? words : undefined;
}
