/** Benchmarks of the embedded model by the real command, beside peers that work, fail, print rubbish, or never end. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { BenchReport } from "../../src/index.ts";
import { startCommand, useCompiledPackage } from "../support/command-line.ts";

const PEER = fileURLToPath(new URL("../support/fake-peer.mjs", import.meta.url));
const SMALL = ["--steps", "1", "--height", "64", "--width", "64", "--runs", "1"];

const used = useCompiledPackage();

const peer = (kind: string) => ["--peers", `"${process.execPath}" "${PEER}" ${kind}`];
const cache = () => process.env.HALFTONE_CACHE ?? "";
const leftInCache = () => readdirSync(cache()).filter((name) => name.startsWith("bench-"));

function bench(args: readonly string[], options: Parameters<typeof startCommand>[3] = {}) {
  return startCommand(used.dist, used.folder, ["bench", ...SMALL, ...args], options);
}

describe("halftone bench", { timeout: 120_000 }, () => {
  test("measures cells and peers in processes of their own, and writes what it found", async () => {
    const log = join(used.folder, "log");
    const matrix = ["--qtype", "none", "--qtype", "qint8", "--exclude", "proj_out", "--fuse-qkv", "--seed", "3", "--threads", "1"];
    const env = { ...process.env, FAKE_PEER_LOG: log };
    const { code, stdout, stderr } = await bench([...matrix, "--prompt=-x", "--output", "out", ...peer("works")], { env });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "out\n" });
    expect(stderr).toMatch(
      /\nhalftone qint8, without proj_out, 1 image, fused, float32 {2}run 1\/1 {2}[\d.]+ s {2}peak [\d.]+ MB {2}[\d.]+ s left\n/,
    );
    expect(stderr).toMatch(/\nfake {6}none, 1 image, float32 +0\.25 s +0\.25 s\/step {2}peak/);
    expect(readdirSync(join(used.folder, "out")).sort()).toEqual(["bench.json", "bench.md", "latency.svg", "memory.svg"]);
    expect(leftInCache()).toEqual([]);

    const report = JSON.parse(readFileSync(join(used.folder, "out", "bench.json"), "utf8")) as BenchReport;
    expect(report).toMatchObject({ recipe: { model: "demo", steps: 1, height: 64, seed: "3", prompt: "-x" }, peer: { name: "fake" } });
    expect(report.rows.map(({ tool }) => tool)).toEqual(Array(4).fill(["halftone", "peer"]).flat());
    const [float, twin, , , quantized] = report.rows;
    for (const row of [float, quantized]) {
      expect(row?.runs[0]?.phases.map(({ phase }) => phase)).toEqual(["encode", "denoise", "decode"]);
      expect(row?.summary?.commandSeconds?.median).toBeGreaterThan(row?.summary?.seconds.median ?? Number.NaN);
    }
    // Node with an engine in it takes more than 20 MB, and a model of 20 MB not a gigabyte.
    if (process.platform === "linux") {
      for (const peak of [float?.summary?.peakAnonymousBytes, twin?.summary?.peakResidentBytes]) {
        expect(peak?.median).toBeGreaterThan(20e6);
        expect(peak?.median).toBeLessThan(1e9);
      }
    }
    expect(quantized?.summary?.weightBytes).toBeLessThan(0.7 * (float?.summary?.weightBytes ?? 0));
    expect(quantized?.summary?.quantizeSeconds.median).toBeGreaterThan(0);

    const asked = readFileSync(log, "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).args.slice(1));
    const common = [
      "--seed",
      "3",
      "--steps",
      "1",
      "--guidance-scale",
      "4.5",
      "--height",
      "64",
      "--width",
      "64",
      "--threads",
      "1",
      "--prompt=-x",
    ];
    expect(asked[0]).toEqual(["--dtype", "float32", "--images", "1", ...common]);
    expect(asked[3]).toEqual(["--dtype", "float32", "--images", "1", "--qtype", "qint8", "--exclude", "proj_out", "--fuse-qkv", ...common]);
  });

  test.each([
    ["fails", "the peer ended with exit code 1: ModuleNotFoundError: No module named 'diffusers'"],
    ["rubbish", 'the peer printed "ready", expected one JSON object'],
    ["killed", "the peer was killed, as the system does when memory runs out: it said nothing"],
  ])("a peer (%s) that does not work is a row that says why", async (kind, failure) => {
    const { code, stdout } = await bench([...peer(kind), "--json"]);
    expect(code).toBe(0);
    const { rows, peer: found } = JSON.parse(stdout) as BenchReport;
    expect(rows.map((row) => row.failure)).toEqual([null, failure]);
    expect(found).toBeNull();
  });

  test("what halftone refuses is refused with its own words, and nothing is left", async () => {
    writeFileSync(join(used.folder, "kept"), "");
    const { code, stdout, stderr } = await bench(["--qtype", "qint8", "--exclude", "proj_uot", ...peer("works")]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/\nerror: exclude pattern "proj_uot" matches no linear layer[^\n]*\nhint: /);
    expect(await bench(["no-such-folder/model", "--offline"])).toMatchObject({ code: 1, stdout: "" });
    expect(await bench(["--peers", "no-such-program-here", "--json"])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('"failure": "\\"no-such-program-here\\" cannot be started'),
    });
    rmSync(join(used.folder, "halftone-bench"), { recursive: true });
    expect(readdirSync(used.folder)).toEqual(["kept"]);
    expect(leftInCache()).toEqual([]);
  });

  test("leaves nothing and nobody when it is interrupted", async () => {
    const log = join(used.folder, "log");
    const env = { ...process.env, FAKE_PEER_LOG: log };
    const finished = await bench(peer("waits"), {
      env,
      // Halftone's run has ended, so the peer is about to wait.
      onError: (text, child) => text.includes("run 1/1") && setTimeout(() => child.kill("SIGINT"), 1000),
    });
    expect(finished).toMatchObject({ code: 130, stdout: "", stderr: expect.stringContaining("cancelled: nothing was written") });
    const { pid } = JSON.parse(readFileSync(log, "utf8"));
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    expect(readdirSync(used.folder)).toEqual(["log"]);
    expect(leftInCache()).toEqual([]);
  });
});
