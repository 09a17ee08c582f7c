/** The real `halftone quantize`: whole pipelines, killed processes, several at once, full disks. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { DiffusionModel, quantizeCheckpoint } from "../../src/index.ts";
import { startCommand, useCompiledPackage } from "../support/command-line.ts";
import { fixturePath } from "../support/fixture.ts";

const TINY = fixturePath("pipelines/tiny");
const used = useCompiledPackage();

const quantize = (...args: string[]) => startCommand(used.dist, used.folder, ["quantize", ...args]);

/** Every file below a folder with the hash of its bytes. */
function contents(root: string, below = ""): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(join(root, below)).sort()) {
    const path = join(below, name);
    if (statSync(join(root, path)).isDirectory()) Object.assign(found, contents(root, path));
    else
      found[path] = createHash("sha256")
        .update(readFileSync(join(root, path)))
        .digest("hex");
  }
  return found;
}

describe("a pipeline", () => {
  test("gets its parts quantized, the others taken over, and makes a picture", async () => {
    const { code, stdout, stderr } = await quantize(TINY, "--qtype", "transformer=qint8,text_encoder=qfloat8", "--output", "small");
    expect(stderr).toMatch(/small {2}text_encoder qfloat8_e4m3fn .* -> .* {2}transformer qint8 .* -> .* {2}peak .* s\n$/);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "small\n" });
    const [was, is] = [contents(TINY), contents(join(used.folder, "small"))];
    expect(Object.keys(is)).toEqual([...Object.keys(was), "text_encoder/quanto_qmap.json", "transformer/quanto_qmap.json"].sort());
    for (const [path, hash] of Object.entries(was)) {
      if (!/^(text_encoder|transformer)\/.*safetensors$/.test(path)) expect([path, is[path]]).toEqual([path, hash]);
    }
    expect(readdirSync(used.folder)).toEqual(["small"]);
    const made = await startCommand(used.dist, used.folder, [
      "generate",
      "x",
      "--model",
      "small",
      "--steps",
      "1",
      "--height",
      "32",
      "--width",
      "32",
      "--output",
      "x.png",
    ]);
    expect(made.stderr).not.toContain("error");
    expect(existsSync(join(used.folder, "x.png"))).toBe(true);
    const again = await quantize("small", "--qtype", "qint8", "--output", "smaller");
    expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining("error: text_encoder is quantized already") });
  });

  test("in one part, by pattern, into shards that are read again", async () => {
    const options = { qtype: "transformer:*attn1*=qint4", exclude: ["*.to_q"], optimizer: "hqq", maxShardBytes: 60_000 } as const;
    const report = await quantizeCheckpoint(TINY, { ...options, output: join(used.folder, "small") });
    expect(report.parts).toMatchObject([{ name: "transformer", qtypes: { qint4: 6 }, floatLayers: 21 }]);
    const files = readdirSync(join(used.folder, "small/transformer"));
    expect(files.filter((name) => name.endsWith(".safetensors")).length).toBeGreaterThan(2);
    expect(files).toContain("diffusion_pytorch_model.safetensors.index.json");
    expect(contents(join(used.folder, "small/text_encoder"))).toEqual(contents(join(TINY, "text_encoder")));
    const model = await DiffusionModel.fromPretrained(join(used.folder, "small"), { subfolder: "transformer" });
    expect([...model.qtypes.keys()].sort()[0]).toBe("transformer_blocks.0.attn1.to_k");
    await model.dispose();
  });
});

describe("misuse", () => {
  test.each<[args: string[], code: number, message: string]>([
    [["--qtype", "qint9"], 2, "error: --qtype must be one of qint8, qint4, qint2, qfloat8"],
    [["--qtype", "transfomer=qint8"], 2, "hint:  did you mean transformer?"],
    [["--qtype", "vae=qint8"], 2, "error: vae cannot be quantized: "],
    [
      ["--qtype", "qint8", "--exclude", "proj_aut"],
      2,
      'error: exclude pattern "proj_aut" matches no linear layer or convolution of text_encoder or transformer\nhint:  near matches: "proj_out"',
    ],
    [["--qtype", "qint8", "--optimizer", "hqq"], 2, 'error: optimizer for qint8 must be absmax, got "hqq"'],
    [["--qtype", "qint8", "--exclude", "*"], 2, "error: nothing is left to quantize"],
    [["--qtype", "qint8", "--layout", "diffusers"], 2, "error: the layout diffusers is for diffusers' classes, got text_encoder"],
    [["--qtype", "qint8", "--variant", "fp16"], 2, 'error: no component has weights of the variant "fp16"'],
  ])("%j", async (args, code, message) => {
    const { stderr, ...rest } = await quantize(TINY, ...args, "--output", "small");
    expect(stderr).toContain(message);
    expect(rest.code).toBe(code);
    expect(readdirSync(used.folder)).toEqual([]);
  });

  test("an output that is taken, or is the model itself", async () => {
    mkdirSync(join(used.folder, "small"));
    writeFileSync(join(used.folder, "small", "notes.txt"), "mine");
    const first = await quantize(TINY, "--qtype", "qint8", "--output", "small");
    expect(first).toMatchObject({ code: 2, stderr: expect.stringContaining('error: folder "small" exists and is not empty') });
    const forced = await quantize(TINY, "--qtype", "qint8", "--output", "small", "--force");
    expect(forced).toMatchObject({ code: 1, stderr: expect.stringContaining("holds files that are not a model's, so it is not replaced") });
    expect(readdirSync(join(used.folder, "small"))).toEqual(["notes.txt"]);
    execFileSync("cp", ["-r", TINY, join(used.folder, "model")]);
    const before = contents(join(used.folder, "model"));
    const itself = await quantize("model", "--qtype", "qint8", "--output", "model", "--force");
    expect(itself).toMatchObject({ code: 2, stderr: expect.stringContaining('error: "model" is the model that is read') });
    expect(contents(join(used.folder, "model"))).toEqual(before);
  });
});

describe("kill -9", () => {
  test("at any moment leaves the old folder or the new one, whole, and the next run cleans up", { timeout: 180_000 }, async () => {
    const args = (qtype: string) => ["quantize", TINY, "--qtype", qtype, "--output", "small", "--force", "--quiet"];
    const whole = new Set<string>();
    for (const qtype of ["qint8", "qint4"]) {
      await startCommand(used.dist, used.folder, args(qtype));
      whole.add(JSON.stringify(contents(join(used.folder, "small"))));
    }
    expect(whole.size).toBe(2);
    const began = { count: 0 };
    for (let i = 0; i < 10; i++) {
      const left = await killedRun(args(i % 2 === 0 ? "qint8" : "qint4"), Math.random() * 60);
      if (left.some((name) => name.startsWith("."))) began.count += 1;
      const present = left.filter((name) => name === "small" || name.endsWith(".old"));
      const states = present.map((name) => JSON.stringify(contents(join(used.folder, name))));
      expect(states.some((state) => whole.has(state))).toBe(true);
      if (existsSync(join(used.folder, "small"))) expect(whole.has(JSON.stringify(contents(join(used.folder, "small"))))).toBe(true);
    }
    // Some were killed in the middle: otherwise this proves nothing.
    expect(began.count).toBeGreaterThan(0);
    const last = await startCommand(used.dist, used.folder, args("qint8"));
    expect(last).toMatchObject({ code: 0, stderr: "" });
    expect(readdirSync(used.folder)).toEqual(["small"]);
  });

  /** Runs the command, kills it some milliseconds after it has begun to write, and returns what lies in the folder. */
  async function killedRun(args: readonly string[], delayMs: number): Promise<string[]> {
    const before = new Set(readdirSync(used.folder));
    const child = spawn(process.execPath, [join(used.dist, "cli", "main.js"), ...args], { cwd: used.folder, stdio: "ignore" });
    const ended = new Promise((resolve) => child.on("exit", resolve));
    let isOver = false;
    child.on("exit", () => {
      isOver = true;
    });
    while (!isOver && readdirSync(used.folder).every((name) => before.has(name))) await new Promise((resolve) => setTimeout(resolve, 2));
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    child.kill("SIGKILL");
    await ended;
    return readdirSync(used.folder);
  }
});

test("two processes at once: without force one wins, with force both do, and nothing else is left", async () => {
  const runs = (force: string[]) =>
    Promise.all(["qint8", "qint4"].map((qtype) => quantize(TINY, "--qtype", qtype, "--output", "small", "--quiet", ...force)));
  const codes = (await runs([])).map(({ code }) => code).sort();
  expect(codes).toEqual([0, 2]);
  expect(readdirSync(used.folder)).toEqual(["small"]);
  const forced = await runs(["--force"]);
  expect(forced.map(({ code, stderr }) => ({ code, stderr }))).toEqual([
    { code: 0, stderr: "" },
    { code: 0, stderr: "" },
  ]);
  expect(readdirSync(used.folder)).toEqual(["small"]);
});

const canMount = process.getuid?.() === 0 && spawnSync("unshare", ["--mount", "true"]).status === 0;

test.skipIf(!canMount)("a full disk is named, and nothing is left (skipped where no disk can be mounted)", async () => {
  const disk = join(used.folder, "disk");
  mkdirSync(disk);
  // Enough for the quantized parts, which is looked at before, but not for the tokenizer and the VAE.
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=400k", "tmpfs", disk]);
  try {
    const late = await quantize(TINY, "--qtype", "qint8", "--output", "disk/small");
    expect(late).toMatchObject({ code: 1, stderr: expect.stringContaining("error: the disk is full: ") });
    expect(readdirSync(disk)).toEqual([]);
    execFileSync("mount", ["-o", "remount,size=40k", disk]);
    const early = await quantize(TINY, "--qtype", "qint8", "--output", "disk/small");
    expect(early).toMatchObject({ code: 1, stderr: expect.stringMatching(/error: the disk of "disk\/small" has \d+ bytes free/) });
    expect(readdirSync(disk)).toEqual([]);
  } finally {
    execFileSync("umount", [disk]);
  }
});
