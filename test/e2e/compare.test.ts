/** Comparisons on the embedded model: what they find, what they write, and what they leave behind when they fail. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { decodePng } from "../../src/image/png.ts";
import { meanSquaredError, psnrOf, ssim } from "../../src/image/similarity.ts";
import { type CompareEvent, type CompareReport, compareQuantization, DiffusionPipeline, demoModelFolder } from "../../src/index.ts";
import { type CompiledPackage, compilePackage, startCommand } from "../support/command-line.ts";
import { fixturePath } from "../support/fixture.ts";

const PROMPTS = ["a red apple on a blue background", "a fox on a yellow background"];
const SIZE = { height: 64, width: 64, numInferenceSteps: 2 } as const;
const FAST = { prompts: PROMPTS, ...SIZE, threads: 2 } as const;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "halftone-compare-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** Pictures as generate makes them. */
async function pictures(spec?: string, exclude?: readonly string[]) {
  const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder, { threads: 2 });
  try {
    if (spec !== undefined) pipeline.quantize(spec, { exclude });
    const made = [];
    for (const [seed, prompt] of PROMPTS.entries()) made.push(...(await pipeline.generate(prompt, { seed, ...SIZE })).images);
    return made;
  } finally {
    await pipeline.dispose();
  }
}

describe("settings", { timeout: 180_000 }, () => {
  test("are measured as pictures that are made by themselves, the better the more bits they have", async () => {
    const { report, grid, output } = await compareQuantization(demoModelFolder, {
      ...FAST,
      qtypes: ["qint8", "qint2"],
      sensitivity: false,
    });
    expect(output).toBeUndefined();
    const [good, bad] = report.variants;
    expect(good?.measured.similarity.psnr).toBeGreaterThan((bad?.measured.similarity.psnr ?? 0) + 10);
    expect(good?.measured.similarity.ssim).toBeGreaterThan(bad?.measured.similarity.ssim ?? 1);
    expect(good?.measured.predictionError).toBeLessThan((bad?.measured.predictionError ?? 0) / 10);
    for (const step of [0, 1]) expect(good?.measured.latentErrors[step]).toBeLessThan((bad?.measured.latentErrors[step] ?? 0) / 10);
    expect(good?.measured.weightBytes).toBeGreaterThan(bad?.measured.weightBytes ?? 0);
    expect(report.reference.weightBytes).toBeGreaterThan(good?.measured.weightBytes ?? 0);
    expect([good?.sensitivity, good?.proposal]).toEqual([null, null]);
    expect(report).toMatchObject({
      model: "demo",
      dtype: "float32",
      steps: 2,
      prompts: PROMPTS.map((prompt, i) => ({ prompt, seed: `${i}` })),
    });

    const [float, quantized] = [await pictures(), await pictures("qint2")];
    const squared = float.map((picture, i) => meanSquaredError(picture, quantized[i] ?? picture));
    expect(bad?.measured.similarity.psnr).toBeCloseTo(psnrOf(((squared[0] ?? 0) + (squared[1] ?? 0)) / 2), 9);
    expect(bad?.measured.pictures[1]?.ssim).toBeCloseTo(ssim(float[1] ?? grid, quantized[1] ?? grid), 9);
    expect([grid.width, grid.height]).toEqual([expect.any(Number), 3 * (64 + 8) + 8 + 22]);
  });

  test("are refused before anything is loaded where they do not fit the memory that may be used", async () => {
    const output = join(folder, "out");
    const options = { ...FAST, qtypes: ["qint8"], maxMemory: "1MB", output };
    await expect(compareQuantization(demoModelFolder, options)).rejects.toThrow(/pixels take .* of memory/);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("are also measured in fast runs where that is asked for", async () => {
    const prompts = PROMPTS.slice(0, 1);
    const { report } = await compareQuantization(demoModelFolder, {
      ...{ prompts, qtypes: ["qint8"], fast: true, numInferenceSteps: 2, threads: 2, sensitivity: true },
      include: "proj_out,*attn1.to_q".split(","),
    });
    expect(report.variants.map(({ label, spec, fast }) => [label, spec, fast])).toEqual([
      ["qint8", "qint8", false],
      ["qint8 --fast", "qint8", true],
    ]);
    const [faithful, fast] = report.variants as [CompareReport["variants"][number], CompareReport["variants"][number]];
    expect(fast.measured.predictionError).toBeGreaterThan(faithful.measured.predictionError ?? 1);
    expect(fast.measured.similarity).not.toEqual(faithful.measured.similarity);
    expect(fast.measured.weightBytes).toBe(faithful.measured.weightBytes);
    expect(faithful.sensitivity?.layers.length).toBe(8);
    expect(fast.sensitivity).toBeNull();
  });

  test("tell of layers alone, and propose what to keep in float, with what it costs", async () => {
    const include = ["transformer_blocks.0.attn1.to_[qv]", "proj_out", "encoder.block.0.layer.0.SelfAttention.[qv]"];
    const events: CompareEvent[] = [];
    const { report } = await compareQuantization(demoModelFolder, {
      ...{ ...FAST, qtypes: ["qint2"], include, targetError: 0.1, output: join(folder, "out") },
      onEvent: (event) => event.type === "compare" && events.push(event),
    });
    const { measured, sensitivity, proposal } = report.variants[0] as CompareReport["variants"][number];
    expect(sensitivity).toMatchObject({
      measure: "prediction",
      calls: expect.arrayContaining([{ prompt: PROMPTS[1], step: 2, timestep: expect.any(Number) }]),
    });
    const layers = sensitivity?.layers ?? [];
    expect(layers.map(({ part, name }) => `${part}:${name}`)).toContain("text_encoder:encoder.block.0.layer.0.SelfAttention.q");
    expect(layers[0]?.name).toBe("proj_out");
    expect(layers.every(({ error, savedBytes }) => error > 0 && savedBytes > 0)).toBe(true);
    expect(events.filter(({ work }) => work === "layers").at(-1)).toMatchObject({
      setting: "qint2",
      done: layers.length,
      total: layers.length,
    });
    // Everything quantized is what the layers' errors are summed up to.
    expect(measured.predictionError).toBeGreaterThan(0.1);

    expect(proposal?.isReached).toBe(true);
    expect(proposal?.measured.predictionError).toBeLessThanOrEqual(0.1);
    expect(proposal?.predictedError).toBeGreaterThan(0);
    const excludes = proposal?.layers.map((name) => `--exclude ${name}`) ?? [];
    expect(proposal?.flags.startsWith("--include ")).toBe(true);
    expect(proposal?.flags.endsWith(` ${excludes.join(" ")}`)).toBe(true);
    const saved = layers.filter(({ name }) => proposal?.layers.includes(name)).reduce((sum, { savedBytes }) => sum + savedBytes, 0);
    expect(proposal?.costBytes).toBe(saved);
    expect(proposal?.layers.length).toBeLessThan(layers.length);

    expect(readdirSync(join(folder, "out")).sort()).toEqual(["comparison.json", "comparison.md", "grid.png", "latents.svg"]);
    const text = readFileSync(join(folder, "out", "comparison.md"), "utf8");
    expect(text).toContain(`\`\`\`\n${proposal?.flags}\n\`\`\``);
    expect(text).toContain("| `proj_out` | transformer | qint2 |");
    expect(JSON.parse(readFileSync(join(folder, "out", "comparison.json"), "utf8"))).toEqual(report);
    // Reference, setting and proposal.
    expect(decodePng(new Uint8Array(readFileSync(join(folder, "out", "grid.png")))).height).toBe(3 * (64 + 8) + 8 + 22);
  });

  test("with a proposal's flags give the proposal's pictures", async () => {
    const setting = { ...FAST, qtypes: ["transformer=qint4"], include: ["proj_out", "pos_embed*", "caption*"] };
    const { report } = await compareQuantization(demoModelFolder, { ...setting, targetError: 0.02 });
    const proposal = report.variants[0]?.proposal;
    expect(proposal).toMatchObject({ isReached: true, layers: expect.arrayContaining([expect.any(String)]) });
    expect(proposal?.layers.length).toBeLessThan(4);
    const again = await compareQuantization(demoModelFolder, { ...setting, sensitivity: false, exclude: proposal?.layers });
    expect(again.report.variants[0]?.measured.pictures).toEqual(proposal?.measured.pictures);
    expect(again.report.variants[0]?.measured.predictionError).toBe(proposal?.measured.predictionError);
  });
});

describe("what does not fit", () => {
  test.each<[change: Partial<Parameters<typeof compareQuantization>[1]>, message: string]>([
    [{ qtype: "qint8" } as object, 'there is no option "qtype" for a comparison'],
    [{ prompts: [] }, "a comparison needs at least one prompt, got none"],
    [{ qtypes: [] }, "a comparison needs at least one qtype, got none"],
    [{ qtypes: ["qint8", "qint8"] }, 'qtype "qint8" was given twice'],
    [{ qtypes: ["qint8", "qint3"] }, "qtype must be one of"],
    [{ qtypes: ["vae=qint8"] }, "vae cannot be quantized"],
    [{ exclude: ["proj_uot"] }, 'exclude pattern "proj_uot" matches no linear layer'],
    [{ targetPsnr: 40, targetError: 0.1 }, "one target is possible at a time, got two"],
    [{ targetPsnr: 40, sensitivity: false }, "a target needs the sensitivity of the layers, which is turned off"],
    [{ targetError: Number.NaN }, "targetError must be a number above 0, got NaN"],
    [{ seed: 1.5 }, "seed is 1.5, expected a whole number"],
    [{ height: 100 }, "height must be a multiple of 16, got 100"],
    [{ prompts: [""], numInferenceSteps: 0 }, "numInferenceSteps must be a whole number of at least 1, got 0"],
  ])("%j is refused, and nothing is left", async (change, message) => {
    const options = { ...FAST, qtypes: ["qint8"], output: join(folder, "out"), ...change };
    await expect(compareQuantization(demoModelFolder, options)).rejects.toThrow(message);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("a checkpoint that is quantized already", async () => {
    const options = { ...FAST, qtypes: ["qint8"], output: join(folder, "out") };
    const quantized = join(folder, "quantized");
    const { quantizeCheckpoint } = await import("../../src/index.ts");
    await quantizeCheckpoint(fixturePath("pipelines/tiny"), { qtype: "transformer=qint8", output: quantized });
    await expect(compareQuantization(quantized, options)).rejects.toThrow(
      "transformer is quantized already, so there is no float reference",
    );
    expect(readdirSync(folder)).toEqual(["quantized"]);
  });

  test("a folder that is taken, unless an earlier comparison may be replaced", async () => {
    const output = join(folder, "out");
    mkdirSync(output);
    writeFileSync(join(output, "notes.txt"), "mine");
    const options = { ...FAST, prompts: PROMPTS.slice(0, 1), numInferenceSteps: 1, qtypes: ["qint8"], sensitivity: false, output };
    await expect(compareQuantization(demoModelFolder, options)).rejects.toThrow("exists and is not empty");
    await expect(compareQuantization(demoModelFolder, { ...options, force: true })).rejects.toThrow(
      "holds files that are not a comparison's",
    );
    expect(readdirSync(output)).toEqual(["notes.txt"]);
    rmSync(output, { recursive: true });
    await compareQuantization(demoModelFolder, options);
    await expect(compareQuantization(demoModelFolder, options)).rejects.toThrow("exists and is not empty");
    expect((await compareQuantization(demoModelFolder, { ...options, force: true })).output).toBe(output);
  });

  test.each(["pictures", "layers"] as const)("stopping among %s leaves nothing", async (work) => {
    const controller = new AbortController();
    const options = { ...FAST, qtypes: ["qint8"], output: join(folder, "out"), signal: controller.signal };
    const stopped = compareQuantization(demoModelFolder, {
      ...options,
      onEvent(event) {
        if (event.type === "compare" && event.work === work && event.done === 1) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ name: "CancelledError" });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("the command", { timeout: 120_000 }, () => {
  let compiled: CompiledPackage;
  beforeAll(async () => {
    compiled = await compilePackage();
  });
  afterAll(() => compiled.remove());

  test("writes the folder and prints its name", async () => {
    writeFileSync(join(folder, "prompts.txt"), `# two of them\n${PROMPTS.join("\n")}\n`);
    const flags = [
      "--prompts",
      "prompts.txt",
      "--qtype",
      "qint8",
      "--steps",
      "2",
      "--height",
      "64",
      "--width",
      "64",
      "--include",
      "proj_out",
      "--output",
      "out",
    ];
    const { code, stdout, stderr } = await startCommand(compiled.dist, folder, ["compare", ...flags]);
    expect(stderr).toMatch(/qint8 {2}layers 1\/1\n/);
    expect(stderr).toMatch(/\nout\nfloat32 {2}[\d.]+ MB\nqint8 {4}[\d.]+ MB {2}PSNR [\d.]+ dB {2}SSIM 0\.9\d+ {2}error [\d.]+ %\n$/);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "out\n" });
    expect(readdirSync(folder).sort()).toEqual(["out", "prompts.txt"]);
  });

  test("leaves nothing when it is interrupted", async () => {
    const finished = await startCommand(
      compiled.dist,
      folder,
      ["compare", "--qtype", "qint8", "--steps", "1", "--height", "64", "--width", "64"],
      {
        onError: (text, child) => text.includes("pictures 4/4") && child.kill("SIGINT"),
      },
    );
    expect(finished).toMatchObject({ code: 130, stdout: "", stderr: expect.stringContaining("cancelled: nothing was written") });
    expect(readdirSync(folder)).toEqual([]);
  });
});
