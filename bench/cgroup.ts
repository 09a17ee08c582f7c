/** Memory cgroups for children: a hard limit that kills what exceeds it, without swap. Needs to be root on Linux. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";

/** What a cgroup has seen: the highest memory of all kinds, pages of files included, and how often the limit was reached. */
export interface CgroupUsage {
  readonly maxBytes: number;
  readonly limitHits: number;
}

/** A cgroup under this process's own. */
export interface Cgroup {
  /** A shell command's beginning that moves the shell into it. */
  readonly enter: string;
  usage(): CgroupUsage;
  remove(): void;
}

/** Makes a cgroup with a limit, of whichever version the machine has. */
export function limitedCgroup(limitBytes: number): Cgroup {
  const lines = readFileSync("/proc/self/cgroup", "utf8").split("\n");
  const v1 = lines.map((line) => /^\d+:memory:(.*)$/.exec(line)?.[1]).find((own) => own !== undefined);
  const own = v1 ?? lines.map((line) => /^0::(.*)$/.exec(line)?.[1]).find((found) => found !== undefined) ?? "/";
  const mount = v1 === undefined ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
  const folder = path.join(mount, own, `halftone-bench-${process.pid}`);
  mkdirSync(folder);
  const file = (name: string) => path.join(folder, name);
  const number = (name: string) => (existsSync(file(name)) ? Number(readFileSync(file(name), "utf8")) : 0);
  if (v1 === undefined) {
    writeFileSync(file("memory.max"), String(limitBytes));
    if (existsSync(file("memory.swap.max"))) writeFileSync(file("memory.swap.max"), "0");
  } else {
    writeFileSync(file("memory.limit_in_bytes"), String(limitBytes));
    if (existsSync(file("memory.memsw.limit_in_bytes"))) writeFileSync(file("memory.memsw.limit_in_bytes"), String(limitBytes));
  }
  const limitHits = () => {
    if (v1 !== undefined) return number("memory.failcnt");
    return Number(/^max (\d+)/m.exec(readFileSync(file("memory.events"), "utf8"))?.[1] ?? 0);
  };
  return {
    enter: `echo $$ > ${file("cgroup.procs")}`,
    usage: () => ({ maxBytes: number(v1 === undefined ? "memory.peak" : "memory.max_usage_in_bytes"), limitHits: limitHits() }),
    remove: () => rmdirSync(folder),
  };
}
