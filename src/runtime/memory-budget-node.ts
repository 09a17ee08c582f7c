/**
 * How much memory this process may take: what the machine has free, or the cgroup that it runs in if that has less.
 *
 * Pages of files count as free, since the system drops them when memory is asked for.
 * Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst.
 */
import { readFileSync } from "node:fs";
import { freemem } from "node:os";
import path from "node:path";

/** What a version of cgroups calls its numbers. */
interface CgroupNames {
  readonly limit: string;
  readonly usage: string;
  readonly filePages: readonly string[];
}

const V1: CgroupNames = {
  limit: "memory.limit_in_bytes",
  usage: "memory.usage_in_bytes",
  filePages: ["total_inactive_file", "total_active_file"],
};
const V2: CgroupNames = { limit: "memory.max", usage: "memory.current", filePages: ["inactive_file", "active_file"] };

/** Bytes that can still be had; `root` is "/" but in tests. */
export function freeMemoryBytes(root = "/"): number {
  const available = number(read(path.join(root, "proc/meminfo")), /^MemAvailable:\s+(\d+) kB/m);
  const machine = available === undefined ? freemem() : available * 1024;
  return Math.min(machine, ...cgroupFolders(root).map(({ folder, names }) => freeInCgroup(folder, names)));
}

/** The cgroups that limit the process: its own and all above it. */
function cgroupFolders(root: string): { folder: string; names: CgroupNames }[] {
  const lines = read(path.join(root, "proc/self/cgroup"))?.split("\n") ?? [];
  return lines.flatMap((line) => {
    const [id, controllers = "", ...rest] = line.split(":");
    const own = rest.join(":");
    const isV1 = controllers.split(",").includes("memory");
    if (!isV1 && !(id === "0" && controllers === "")) return [];
    const mount = path.join(root, isV1 ? "sys/fs/cgroup/memory" : "sys/fs/cgroup");
    const names = own.split("/").filter((name) => name !== "" && name !== "..");
    return names.concat("").map((_, depth) => ({ folder: path.join(mount, ...names.slice(0, depth)), names: isV1 ? V1 : V2 }));
  });
}

/** Infinity where the cgroup has no limit, or is hidden by its container. */
function freeInCgroup(folder: string, { limit, usage, filePages }: CgroupNames): number {
  const most = number(read(path.join(folder, limit)), /^(\d+)/);
  const used = number(read(path.join(folder, usage)), /^(\d+)/);
  if (most === undefined || used === undefined) return Number.POSITIVE_INFINITY;
  const statistics = read(path.join(folder, "memory.stat"));
  const ofFiles = filePages.reduce((sum, name) => sum + (number(statistics, new RegExp(`^${name} (\\d+)`, "m")) ?? 0), 0);
  return Math.max(0, most - Math.max(0, used - ofFiles));
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function number(text: string | undefined, pattern: RegExp): number | undefined {
  const found = text === undefined ? null : pattern.exec(text);
  return found === null ? undefined : Number(found[1]);
}
