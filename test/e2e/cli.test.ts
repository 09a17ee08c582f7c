/** The real command with the embedded model, as a user runs it. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { EMBEDDED_MODEL_HASH } from "../../src/cli/request.ts";
import { decodePng, encodePng, readRecipe } from "../../src/image/png.ts";
import { compileModules, startCommand, useCompiledPackage, withoutRootsRights } from "../support/command-line.ts";
import { fixturePath } from "../support/fixture.ts";

const PROMPT = "a red apple on a blue background";
const DEMO = fileURLToPath(new URL("../../models/demo", import.meta.url));

const used = useCompiledPackage();

const halftone = (args: readonly string[], options?: Parameters<typeof startCommand>[3]) =>
  startCommand(used.dist, used.folder, args, options);
const read = (name: string) => new Uint8Array(readFileSync(join(used.folder, name)));

describe("halftone generate", () => {
  test("makes the picture that was asked for", async () => {
    const { code, stdout, stderr } = await halftone(["generate", PROMPT, "--seed", "42"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "halftone-42.png\n" });
    expect(stderr.split("\n").at(-2)).toMatch(
      /^halftone-42\.png {2}128x128 {2}seed 42 {2}encode [\d.]+ s, denoise [\d.]+ s \(20 steps, [\d.]+ s\/step\), decode [\d.]+ s {2}peak \d+ MB \(anonymous [\d.]+ MB, planned [\d.]+ MB\)$/,
    );
    expect(readdirSync(used.folder)).toEqual(["halftone-42.png"]);
    const { width, data } = decodePng(read("halftone-42.png"));
    const pixel = (x: number, y: number) =>
      Array.from(data.subarray(3 * (y * width + x), 3 * (y * width + x) + 3)) as [number, number, number];
    for (const [x, y] of [
      [4, 4],
      [123, 4],
      [4, 123],
      [123, 123],
    ] as const) {
      const [red, , blue] = pixel(x, y);
      expect(blue, `background at ${x}, ${y}`).toBeGreaterThan(red + 60);
    }
    const [red, green, blue] = pixel(64, 72);
    expect(red, "apple in the middle").toBeGreaterThan(Math.max(green, blue) + 60);
  });

  test("repeats a picture from its recipe, bit for bit", async () => {
    const flags = ["--seed", "18446744073709551615", "--steps", "3", "--guidance-scale", "2.5", "--height", "64", "--width", "96"];
    await halftone([
      "generate",
      "苹果 🍎",
      "--negative-prompt",
      "blurry",
      "--dtype",
      "float16",
      ...flags,
      "--images",
      "2",
      "--output",
      "a.png",
    ]);
    expect(readdirSync(used.folder)).toEqual(["a-1.png", "a-2.png"]);
    const { code, stderr } = await halftone(["generate", "--from", "a-2.png", "--output", "b.png"]);
    expect(code).toBe(0);
    expect(stderr).not.toContain("warning");
    for (const index of [1, 2]) {
      expect(decodePng(read(`b-${index}.png`))).toEqual(decodePng(read(`a-${index}.png`)));
      expect(readRecipe(read(`b-${index}.png`))).toEqual(readRecipe(read(`a-${index}.png`)));
    }
    expect(readRecipe(read("a-2.png"))).toMatchObject({
      prompt: "苹果 🍎",
      seed: "18446744073709551615",
      imageIndex: 1,
      width: 96,
      model: "demo",
    });
    expect(decodePng(read("a-1.png")).data).not.toEqual(decodePng(read("a-2.png")).data);
  });

  test("repeats the variant of a model", async () => {
    mkdirSync(join(used.folder, "model", "transformer"), { recursive: true });
    const parts = ["model_index.json", "scheduler", "text_encoder", "tokenizer", "vae", "transformer/config.json"];
    for (const part of parts) symlinkSync(join(DEMO, part), join(used.folder, "model", part));
    const weights = "transformer/diffusion_pytorch_model";
    symlinkSync(join(DEMO, `${weights}.safetensors`), join(used.folder, "model", `${weights}.fp16.safetensors`));
    const flags = ["--model", "model", "--variant", "fp16", "--steps", "2", "--seed", "5", "--output", "a.png"];
    expect(await halftone(["generate", PROMPT, ...flags])).toMatchObject({ code: 0 });
    expect(readRecipe(read("a.png"))).toMatchObject({ model: "model", variant: "fp16" });
    expect(await halftone(["generate", "--from", "a.png", "--output", "b.png", "--quiet"])).toMatchObject({ code: 0, stderr: "" });
    expect(read("b.png")).toEqual(read("a.png"));
    expect((await halftone(["inspect", "model", "--variant", "fp16"])).stdout).toContain("PixArtTransformer2DModel");
    expect((await halftone(["inspect", "model"])).stderr).toContain('transformer has no plain weights, only "fp16"');
  });

  test("--json prints one object and --quiet nothing else", async () => {
    const flags = ["--seed", "1", "--steps", "2", "--json", "--quiet", "--save-latents", "l.safetensors", "--no-metadata"];
    const { code, stdout, stderr } = await halftone(["generate", PROMPT, ...flags]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ files: ["halftone-1.png"], seed: "1", latentsFile: "l.safetensors", warnings: [] });
    expect(result.phases.map(({ phase }: { phase: string }) => phase)).toEqual(["encode", "denoise", "decode"]);
    expect(result.peakResidentBytes).toBeGreaterThan(10e6);
    expect(result.stepSeconds).toHaveLength(2);
    expect(result).toMatchObject({ loadSeconds: expect.any(Number), quantizeSeconds: 0 });
    expect(Object.keys(result.weightBytes).sort()).toEqual(["text_encoder", "transformer", "vae"]);
    expect(result.recipe).toMatchObject({ prompt: PROMPT, steps: 2, scheduler: "DPMSolverMultistepScheduler" });
    expect(readRecipe(read("halftone-1.png"))).toBeUndefined();
    expect(readdirSync(used.folder)).toEqual(["halftone-1.png", "l.safetensors"]);
  });

  test("writes the picture and nothing else, not at home and not among temporary files", async () => {
    const env = { PATH: process.env.PATH, HOME: used.folder, TMPDIR: used.folder };
    expect(await halftone(["generate", PROMPT, "--steps", "2", "--output", "a.png"], { env })).toMatchObject({ code: 0 });
    expect(readdirSync(used.folder)).toEqual(["a.png"]);
  });

  test.each([
    [["--height", "100"], 2, "error: --height must be a multiple of 16, got 100\nhint:  the nearest that works is 96\n"],
    [["--steps", "1001"], 2, "error: --steps must be at most 1000, the timesteps that the scheduler was trained with, got 1001\n"],
    [["--model", "nope"], 1, 'error: model folder "nope" does not exist\nwhere: nope\n'],
    [["--model", "file"], 1, 'error: model path "file" is a file, expected a folder in diffusers\' layout\nwhere: file\n'],
    [["--model", "empty"], 1, 'error: model folder "empty" is empty\nwhere: empty\n'],
  ])("%j ends with %i and leaves nothing", async (flags, expected, text) => {
    writeFileSync(join(used.folder, "file"), "");
    mkdirSync(join(used.folder, "empty"));
    const { code, stdout, stderr } = await halftone(["generate", "x", ...flags]);
    expect({ code, stdout }).toEqual({ code: expected, stdout: "" });
    expect(stderr).toContain(text);
    expect(readdirSync(used.folder)).toEqual(["empty", "file"]);
  });

  test("a recipe with another model's hash or version gives warnings", async () => {
    await halftone(["generate", PROMPT, "--seed", "3", "--steps", "2", "--output", "a.png"]);
    const recipe = readRecipe(read("a.png"));
    if (recipe === undefined) throw new Error("no recipe");
    writeFileSync(join(used.folder, "a.png"), encodePng(decodePng(read("a.png")), { ...recipe, modelHash: "00", version: "0.0.1" }));
    const { code, stderr } = await halftone(["generate", "--from", "a.png", "--output", "b.png", "--quiet"]);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^warning: the recipe is of halftone 0\.0\.1, this is .*\nwarning: the recipe's model "demo" is not the embedded one, .*\n$/,
    );
  });

  test("--fast quantizes the transformer unless told otherwise, says so, and is repeated by its recipe", async () => {
    const flags = ["--seed", "3", "--steps", "2"];
    const made = await halftone(["generate", PROMPT, "--fast", "--output", "a.png", ...flags]);
    expect(made.stderr).toContain(
      "warning: --fast multiplies 8-bit weights: the transformer is quantized, as by --qtype transformer=qint8\n",
    );
    expect(made.stderr.split("\n").at(-2)).toMatch(/ {2}transformer qint8 \([\d.]+ MB to [\d.]+ MB\) {2}fast {2}peak /);
    expect(readRecipe(read("a.png"))).toMatchObject({
      fast: true,
      quantization: { spec: "transformer=qint8" },
      qtypes: { transformer: "qint8" },
    });
    const again = await halftone(["generate", "--from", "a.png", "--output", "b.png", "--quiet"]);
    expect(again).toMatchObject({ code: 0, stderr: "" });
    expect(read("b.png")).toEqual(read("a.png"));
    const told = await halftone(["generate", PROMPT, "--fast", "--qtype", "qint8", "--output", "c.png", ...flags, "--quiet"]);
    expect(told).toMatchObject({ code: 0, stderr: "" });
    expect(await halftone(["generate", PROMPT, "--qtype", "transformer=qint8", "--output", "d.png", ...flags, "--quiet"])).toMatchObject({
      code: 0,
    });
    expect(decodePng(read("d.png")).data).not.toEqual(decodePng(read("a.png")).data);
    expect((await halftone(["inspect", "a.png"])).stdout).toMatch(/^products +8-bit \(fast\)$/m);
    expect((await halftone(["inspect", "d.png"])).stdout).not.toContain("products");
    expect(await halftone(["generate", PROMPT, "--fast", "--exclude", "proj_out", "--output", "e.png", ...flags])).toMatchObject({
      code: 0,
    });
    expect(readRecipe(read("e.png"))).toMatchObject({ quantization: { spec: "transformer=qint8", exclude: ["proj_out"] } });
  });

  test("knows the embedded model by its hash, also quantized, and a folder of the same name from it", async () => {
    const flags = ["--seed", "3", "--steps", "2", "--quiet", "--output"];
    await halftone(["generate", PROMPT, "--qtype", "qint8", ...flags, "a.png"]);
    expect(readRecipe(read("a.png"))).toMatchObject({ model: "demo", modelHash: EMBEDDED_MODEL_HASH });
    mkdirSync(join(used.folder, "demo", "scheduler"), { recursive: true });
    for (const part of ["model_index.json", "text_encoder", "tokenizer", "transformer", "vae"]) {
      symlinkSync(join(DEMO, part), join(used.folder, "demo", part));
    }
    const scheduler = readFileSync(join(DEMO, "scheduler", "scheduler_config.json"), "utf8").replace(/("solver_order": )\d/, "$11");
    writeFileSync(join(used.folder, "demo", "scheduler", "scheduler_config.json"), scheduler);
    await halftone(["generate", PROMPT, "--model", "demo", ...flags, "b.png"]);
    expect(readRecipe(read("b.png"))?.modelHash).not.toBe(EMBEDDED_MODEL_HASH);
    for (const name of ["a", "b"]) {
      const repeated = await halftone(["generate", "--from", `${name}.png`, "--output", `${name}-again.png`, "--quiet"]);
      expect(repeated).toMatchObject({ code: 0, stderr: "" });
      expect(read(`${name}-again.png`)).toEqual(read(`${name}.png`));
    }
    expect(read("a.png")).not.toEqual(read("b.png"));
  });
});

describe("halftone inspect", () => {
  test("prints a model's parts", async () => {
    const { code, stdout, stderr } = await halftone(["inspect", DEMO]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^model {2}demo\nclass {2}PixArtSigmaPipeline\n\npart +class +parameters +bytes {2}stored as\n/);
    expect(stdout).toMatch(/\ntransformer +PixArtTransformer2DModel +[\d.]+ M +[\d.]+ MB {2}float16\n/);
    expect(stdout).toMatch(/\ntotal +[\d.]+ M +[\d.]+ MB\n\n1 x 128 x 128 pixels, guidance batched, in [\d.]+ [MGT]B: fits\n/);
    const { parts } = JSON.parse((await halftone(["inspect", DEMO, "--json"])).stdout);
    expect(parts).toHaveLength(5);
  });

  test("prints a picture's recipe", async () => {
    const { code, stdout } = await halftone(["inspect", fixturePath("pictures/recipe-ztxt.png")]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^prompt +a "red" apple\\n苹果 🍎 /);
  });

  test("does not mind a reader that leaves early", async () => {
    const child = spawn(process.execPath, [join(used.dist, "cli", "main.js"), "inspect", DEMO], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    let stderr = "";
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });
});

describe("Ctrl-C", () => {
  test("stops the run, leaves no file and keeps the old one", async () => {
    writeFileSync(join(used.folder, "a.png"), "old");
    let sent = false;
    const { code, stdout, stderr } = await halftone(["generate", PROMPT, "--steps", "400", "--output", "a.png"], {
      onError(text, child) {
        if (sent || !text.includes("encode done")) return;
        sent = true;
        setTimeout(() => child.kill("SIGINT"), 200);
      },
    });
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
    expect(stderr).toContain("stopping; Ctrl-C once more ends at once\ncancelled: nothing was written\n");
    expect(readdirSync(used.folder)).toEqual(["a.png"]);
    expect(readFileSync(join(used.folder, "a.png"), "utf8")).toBe("old");
  });

  test("a second one ends the process even while the thread is held", async () => {
    const modules = await compileModules();
    onTestFinished(() => modules.remove());
    const script = `
      const { watchInterrupts } = await import(${JSON.stringify(join(modules.dist, "cli", "interrupt.js"))});
      const { writeSync } = await import("node:fs");
      watchInterrupts(() => { writeSync(1, "held"); for (;;); });
      setInterval(() => {}, 1000);
      writeSync(1, "ready");`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    child.stdout.on("data", () => child.kill("SIGINT"));
    const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => child.on("close", (...end) => resolve(end)));
    expect({ code, signal }).toEqual({ code: null, signal: "SIGINT" });
  });
});

const canMount = process.getuid?.() === 0 && spawnSync("unshare", ["--mount", "true"]).status === 0;

describe("a disk that refuses", () => {
  test.skipIf(!canMount)("full: the picture is not left in part (skipped where no disk can be mounted)", async () => {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=8k", "tmpfs", used.folder]);
    try {
      const { code, stdout, stderr } = await halftone(["generate", PROMPT, "--seed", "1", "--steps", "2", "--quiet"]);
      expect({ code, stdout, stderr }).toEqual({
        code: 1,
        stdout: "",
        stderr:
          'error: the disk is full: "halftone-1.png" was not written\nwhere: halftone-1.png\nhint:  free some space or write to another disk\n',
      });
      expect(readdirSync(used.folder)).toEqual([]);
    } finally {
      execFileSync("umount", [used.folder]);
    }
  });

  test.skipIf(!canMount)(
    "full after a picture: none of several is left, and the old one stays (skipped where no disk can be mounted)",
    async () => {
      const flags = ["generate", PROMPT, "--seed", "1", "--steps", "2", "--output", "a.png", "--quiet"];
      await halftone(flags);
      const room = Math.ceil((2.5 * read("a.png").length) / 4096) * 4;
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${room}k`, "tmpfs", used.folder]);
      try {
        writeFileSync(join(used.folder, "a-1.png"), "old");
        const { code, stdout, stderr } = await halftone([...flags, "--images", "4"]);
        expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
        expect(stderr).toMatch(/^error: the disk is full: "a-[23]\.png" was not written\n/);
        expect(readdirSync(used.folder)).toEqual(["a-1.png"]);
        expect(readFileSync(join(used.folder, "a-1.png"), "utf8")).toBe("old");
      } finally {
        execFileSync("umount", [used.folder]);
      }
    },
  );

  test.skipIf(!canMount)("full for the latents: the picture is not left either (skipped where no disk can be mounted)", async () => {
    mkdirSync(join(used.folder, "small"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4k", "tmpfs", join(used.folder, "small")]);
    try {
      const flags = ["--seed", "1", "--steps", "2", "--output", "a.png", "--save-latents", "small/l.safetensors", "--quiet"];
      const { code, stdout, stderr } = await halftone(["generate", PROMPT, ...flags]);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(/^error: the disk is full: "small\/l\.safetensors" was not written\n/);
      expect([readdirSync(used.folder), readdirSync(join(used.folder, "small"))]).toEqual([["small"], []]);
    } finally {
      execFileSync("umount", [join(used.folder, "small")]);
    }
  });

  test("read-only: found out before the work (skipped where root's rights cannot be dropped)", async ({ skip }) => {
    const before = withoutRootsRights(used.dist);
    if (before === undefined) return skip("setpriv is missing or the compiled package is out of reach for other users");
    chmodSync(used.folder, 0o555);
    const { code, stdout, stderr } = await halftone(["generate", PROMPT, "--output", "a.png"], { before });
    expect({ code, stdout, stderr }).toEqual({
      code: 1,
      stdout: "",
      stderr: 'error: no permission to write "a.png"\nwhere: a.png\nhint:  look at the permissions of "."\n',
    });
  });

  test("another user's file in a shared folder: pictures already in place are taken back (skipped without root's rights)", async ({
    skip,
  }) => {
    const before = withoutRootsRights(used.dist);
    if (before === undefined || before.length === 0) return skip("one user cannot make another's file");
    writeFileSync(join(used.folder, "a-2.png"), "old");
    chmodSync(join(used.folder, "a-2.png"), 0o666);
    // As /tmp: everyone may write, and rename only what is theirs.
    chmodSync(used.folder, 0o1777);
    const flags = ["--images", "3", "--steps", "2", "--output", "a.png", "--quiet"];
    const { code, stdout, stderr } = await halftone(["generate", PROMPT, ...flags], { before });
    expect({ code, stdout, stderr }).toEqual({
      code: 1,
      stdout: "",
      stderr: 'error: no permission to write "a-2.png"\nwhere: a-2.png\nhint:  look at the permissions of "."\n',
    });
    expect(readdirSync(used.folder)).toEqual(["a-2.png"]);
    expect(readFileSync(join(used.folder, "a-2.png"), "utf8")).toBe("old");
  });

  test("a model that may not be read is named (skipped where root's rights cannot be dropped)", async ({ skip }) => {
    const before = withoutRootsRights(used.dist);
    if (before === undefined) return skip("setpriv is missing or the compiled package is out of reach for other users");
    mkdirSync(join(used.folder, "model"));
    writeFileSync(join(used.folder, "model", "model_index.json"), "{}", { mode: 0o000 });
    chmodSync(used.folder, 0o777);
    const { code, stderr } = await halftone(["generate", PROMPT, "--model", "model", "--quiet"], { before });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^error: no permission to read ".*model_index\.json"\nwhere: .*model_index\.json\nhint: {2}change its permissions/,
    );
  });
});

describe("Stable Diffusion 3", () => {
  const model = fixturePath("pipelines/sd3");
  const quick = ["--seed", "1", "--steps", "2", "--height", "32", "--width", "48"];

  test("is inspected part by part", async () => {
    const { code, stdout } = await halftone(["inspect", model]);
    expect(code).toBe(0);
    const parts = stdout
      .split("\n")
      .flatMap((line) => /^(\w+) {2,}(\w+(?:Model|ModelWithProjection|KL|Tokenizer|Scheduler))\b/.exec(line)?.[1] ?? []);
    expect(parts.sort()).toEqual([
      "scheduler",
      "text_encoder",
      "text_encoder_2",
      "text_encoder_3",
      "tokenizer",
      "tokenizer_2",
      "tokenizer_3",
      "transformer",
      "vae",
    ]);
  });

  test("is warned of once where its second text encoder is quantized, and repeats a recipe with prompts of its own", async () => {
    const prompts = ["--prompt-2", "a castle", "--negative-prompt-3", "dark", "--clip-skip", "1"];
    const made = await halftone([
      "generate",
      "a fox",
      "--model",
      model,
      ...quick,
      ...prompts,
      "--qtype",
      "text_encoder_[23]=qint8",
      "--output",
      "a.png",
    ]);
    expect({ code: made.code, stdout: made.stdout }).toEqual({ code: 0, stdout: "a.png\n" });
    expect(made.stderr.match(/^warning: .*$/gm)).toEqual([
      expect.stringMatching(/^warning: text_encoder_2 is quantized, .* recommended are /),
    ]);
    const again = await halftone(["generate", "--model", model, "--from", "a.png", "--output", "b.png", "--quiet"]);
    expect(again.code).toBe(0);
    expect(decodePng(read("b.png"))).toEqual(decodePng(read("a.png")));
    expect(readRecipe(read("b.png"))).toMatchObject({
      prompt2: "a castle",
      clipSkip: 1,
      qtypes: { text_encoder_2: "qint8", text_encoder_3: "qint8" },
    });
  });

  test("is quantized whole on disk", async () => {
    expect((await halftone(["quantize", model, "--qtype", "qint8", "--output", "q", "--quiet"])).code).toBe(0);
    const { stdout } = await halftone(["inspect", "q", "--json"]);
    expect(stdout.match(/"int8"/g)?.length).toBeGreaterThanOrEqual(4);
    const { stderr, code } = await halftone(["generate", "a fox", "--model", "q", ...quick, "--output", "a.png"]);
    expect({ code, warnings: stderr.match(/^warning: /gm)?.length }).toEqual({ code: 0, warnings: 1 });
  });
});
