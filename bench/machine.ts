/** What a result was measured on and with: without it a figure means nothing. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import os from "node:os";
import { version } from "halftone";

/** Machine, versions and commit of a run. */
export function describeRun(): Record<string, unknown> {
  const flags = /^flags\s*:\s*(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(" ") ?? [];
  const interesting = ["avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16"];
  const engine = JSON.parse(readFileSync("node_modules/onnxruntime-node/package.json", "utf8")) as { version: string };
  return {
    date: new Date().toISOString().slice(0, 10),
    commit: git("rev-parse", "--short", "HEAD"),
    uncommitted: git("status", "--porcelain", "--", "src") !== "",
    cpu: os.cpus()[0]?.model,
    cores: os.cpus().length,
    instructions: interesting.filter((flag) => flags.includes(flag)),
    memoryBytes: os.totalmem(),
    loadBefore: os.loadavg()[0],
    node: process.version,
    halftone: version,
    onnxruntime: engine.version,
  };
}

function git(...args: string[]): string {
  return execFileSync("git", args, { encoding: "utf8" }).trim();
}
