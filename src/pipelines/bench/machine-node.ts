/** What a result was measured on and with: without it a figure means nothing. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import os from "node:os";
import process from "node:process";
import { engineVersion } from "../../runtime/onnxruntime-node.ts";
import { version } from "../../version.ts";
import { packageFolder } from "../package-node.ts";
import type { MachineReport } from "./bench-report.ts";

/** Those that decide which kernels the engines take. */
const INSTRUCTIONS = ["avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16"];

/** Machine, versions, and the commit where the package runs from a checkout of its own. */
export function describeMachine(): MachineReport {
  return {
    date: new Date().toISOString().slice(0, 10),
    ...commitOf(packageFolder),
    cpu: os.cpus()[0]?.model ?? null,
    cores: os.cpus().length,
    instructions: instructions(),
    memoryBytes: os.totalmem(),
    loadBefore: os.loadavg()[0] ?? null,
    node: process.version,
    halftone: version,
    onnxruntime: engineVersion,
  };
}

/** Where the system does not list them: none. */
function instructions(): string[] {
  try {
    const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(" ") ?? [];
    return INSTRUCTIONS.filter((flag) => flags.includes(flag));
  } catch {
    return [];
  }
}

function commitOf(folder: string): { commit: string | null; uncommitted: boolean } {
  // A package that lies in another project's checkout must not name that project's commit.
  if (!existsSync(`${folder}/.git`)) return { commit: null, uncommitted: false };
  try {
    const git = (...args: string[]) => execFileSync("git", args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return { commit: git("rev-parse", "--short", "HEAD").trim(), uncommitted: git("status", "--porcelain", "--", "src").trim() !== "" };
  } catch {
    return { commit: null, uncommitted: false };
  }
}
