import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { freeMemoryBytes } from "./memory-budget-node.ts";

const MEMINFO = "MemTotal:       24000000 kB\nMemFree:         100 kB\nMemAvailable:   2000000 kB\n";

/** A machine's files, by their paths. */
function machine(files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(path.join(tmpdir(), "halftone-machine-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  for (const [name, text] of Object.entries({ "proc/meminfo": MEMINFO, ...files })) {
    mkdirSync(path.dirname(path.join(root, name)), { recursive: true });
    writeFileSync(path.join(root, name), text);
  }
  return root;
}

it("is what the machine has where nothing limits the process", () => {
  expect(freeMemoryBytes(machine({}))).toBe(2_000_000 * 1024);
  const unlimited = { "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.current": "5\n" };
  expect(freeMemoryBytes(machine(unlimited))).toBe(2_000_000 * 1024);
});

it("is what a cgroup of version 2 has left, pages of files counted as free", () => {
  const root = machine({
    "proc/self/cgroup": "0::/a/b\n",
    "sys/fs/cgroup/a/b/memory.max": "1000000000\n",
    "sys/fs/cgroup/a/b/memory.current": "700000000\n",
    "sys/fs/cgroup/a/b/memory.stat": "anon 300000000\ninactive_file 300000000\nactive_file 100000000\n",
  });
  expect(freeMemoryBytes(root)).toBe(700_000_000);
});

it("is what a cgroup of version 1 has left", () => {
  const root = machine({
    "proc/self/cgroup": "5:cpu:/x\n4:memory:/a\n0::/\n",
    "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000000000\n",
    "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "900000000\n",
    "sys/fs/cgroup/memory/a/memory.stat": "total_inactive_file 500000000\ntotal_active_file 200000000\n",
  });
  expect(freeMemoryBytes(root)).toBe(800_000_000);
});

it("minds the limits of the cgroups above", () => {
  const root = machine({
    "proc/self/cgroup": "0::/a/b\n",
    "sys/fs/cgroup/a/memory.max": "400000000\n",
    "sys/fs/cgroup/a/memory.current": "100000000\n",
    "sys/fs/cgroup/a/b/memory.max": "max\n",
    "sys/fs/cgroup/a/b/memory.current": "50000000\n",
  });
  expect(freeMemoryBytes(root)).toBe(300_000_000);
});

it("is nothing in a cgroup that is full", () => {
  const root = machine({
    "proc/self/cgroup": "0::/a\n",
    "sys/fs/cgroup/a/memory.max": "100\n",
    "sys/fs/cgroup/a/memory.current": "200\n",
  });
  expect(freeMemoryBytes(root)).toBe(0);
});
