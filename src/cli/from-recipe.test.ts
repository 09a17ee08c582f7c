/** The recipe in a picture: --from repeats it, inspect prints it. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { PIXELS, RECIPE, run, workInEmptyFolder } from "../../test/support/stand-in-command.ts";
import { encodePng } from "../image/png.ts";
import { type Recipe, version } from "../index.ts";

workInEmptyFolder();

describe("--from", () => {
  const save = (change: Partial<Recipe> = {}) => writeFileSync("old.png", encodePng(PIXELS, { ...RECIPE, ...change }));
  const repeat = (change: Partial<Recipe>, ...flags: string[]) => {
    save(change);
    return run(["generate", "--from", "old.png", ...flags]);
  };

  test("repeats a recipe", async () => {
    save({ images: 2, imageIndex: 1 });
    const { code, asked, stderr } = await run(["generate", "--from", "old.png", "--output", "new.png"]);
    expect(asked).toMatchObject({
      prompt: "a red apple",
      model: "/demo",
      load: { dtype: "float16" },
      generate: {
        negativePrompt: "blurry",
        seed: 18446744073709551615n,
        numInferenceSteps: 7,
        guidanceScale: 3,
        height: 32,
        width: 64,
        numImagesPerPrompt: 2,
      },
    });
    expect(code).toBe(0);
    expect(stderr).not.toContain("recipe");
  });

  test("repeats what only some pipelines take, and does without the parts that were absent", async () => {
    const skipLayerGuidance = { layers: [7, 8], scale: 2.8, start: 0.01, stop: 0.2 };
    save({ prompt2: "b", negativePrompt3: "d", clipSkip: 1, skipLayerGuidance, absentParts: ["text_encoder_3"] });
    const { asked } = await run(["generate", "--from", "old.png"]);
    expect(asked?.load).toHaveProperty("textEncoder3", null);
    expect(asked?.generate).toMatchObject({
      prompt2: "b",
      negativePrompt3: "d",
      clipSkip: 1,
      skipGuidanceLayers: [7, 8],
      skipLayerGuidanceScale: 2.8,
      skipLayerGuidanceStop: 0.2,
    });
    expect((await run(["generate", "--from", "old.png", "--model", "other/name"])).asked?.load).not.toHaveProperty("textEncoder3");
  });

  test("flags win, and a model's revision goes with the model", async () => {
    save({ model: "owner/name", revision: "abc", variant: "fp16" });
    expect((await run(["generate", "--from", "old.png"])).asked).toMatchObject({
      model: "owner/name",
      load: { revision: "abc", variant: "fp16" },
    });
    const { asked } = await run(["generate", "a pear", "--from", "old.png", "--model", "other/name", "--steps", "3", "--seed", "0"]);
    expect(asked).toMatchObject({ prompt: "a pear", model: "other/name", generate: { seed: 0, numInferenceSteps: 3, guidanceScale: 3 } });
    expect([asked?.load.revision, asked?.load.variant]).toEqual([undefined, undefined]);
  });

  test("warns when the model, the version or the quantization is another", async () => {
    save({ modelHash: "other", version: "0.0.1\u001b]0;owned\u0007", qtypes: { transformer: "qint8" } });
    const { stderr } = await run(["generate", "--from", "old.png"]);
    expect(stderr.split("\n").slice(0, 4)).toEqual([
      `warning: the recipe is of halftone 0.0.1\\u001b]0;owned\\u0007, this is ${version}: the picture may differ`,
      'warning: the recipe\'s model "demo" is not the embedded one, which is used: the picture may differ; give a folder of yours with --model',
      "warning: the prompt was cut",
      "warning: the recipe was made with transformer in qint8, this run without quantization: the picture will differ",
    ]);
    save({ model: "owner/name", modelHash: "other" });
    expect((await run(["generate", "--from", "old.png"])).stderr).toContain(
      "warning: model demo is not owner/name of the recipe: the picture may differ from the recipe's\n",
    );
  });

  test("the embedded model is known by its hash, not by its name", async () => {
    const own = 'the recipe\'s model "demo"';
    const { asked, stderr } = await repeat({ modelHash: "other" });
    expect({ model: asked?.model, said: stderr.includes(own) }).toEqual({ model: "/demo", said: true });
    // A folder of any content is not a model.
    mkdirSync("demo");
    expect((await repeat({ modelHash: "other" })).asked?.model).toBe("/demo");
    writeFileSync(join("demo", "model_index.json"), "{}");
    const mine = await repeat({ modelHash: "other" });
    expect({ model: mine.asked?.model, said: mine.stderr.includes(own) }).toEqual({ model: "demo", said: false });
    expect((await repeat({})).asked?.model).toBe("/demo");
    const given = await repeat({ modelHash: "other" }, "--model", "elsewhere");
    expect({ model: given.asked?.model, said: given.stderr.includes(own) }).toEqual({ model: "elsewhere", said: false });
  });

  test("more pictures than a flag can ask for are refused at once", async () => {
    const began = performance.now();
    save({ images: 1e12 });
    expect(await run(["generate", "--from", "old.png", "--images", "1"])).toMatchObject({
      code: 1,
      stderr:
        'error: the recipe in the picture has a wrong "images": expected a whole number from 1 to 10000, got 1000000000000\nwhere: old.png\n',
      asked: undefined,
    });
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test.each<[string, () => void, string]>([
    ["a file that is not there", () => {}, 'error: picture "old.png" does not exist\nwhere: old.png\n'],
    ["a folder", () => mkdirSync("old.png"), 'error: "old.png" is a folder, expected a PNG picture\nwhere: old.png\n'],
    ["a text", () => writeFileSync("old.png", "hello"), "error: the file is not a PNG picture\nwhere: old.png\n"],
    [
      "a picture without a recipe",
      () => writeFileSync("old.png", encodePng(PIXELS)),
      'error: the picture "old.png" carries no recipe\nwhere: old.png\nhint:  it was made by another program',
    ],
  ])("%s is refused", async (_, prepare, stderr) => {
    prepare();
    for (const command of [
      ["generate", "--from", "old.png"],
      ["inspect", "old.png"],
    ]) {
      // An existing folder may be a model, whatever its name.
      if (command[0] === "inspect" && stderr.includes("is a folder")) continue;
      expect(await run(command)).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining(stderr), asked: undefined });
    }
  });

  test("a model folder that is not here is asked for", async () => {
    save({ model: "my-model" });
    expect(await run(["generate", "--from", "old.png"])).toMatchObject({
      code: 2,
      stderr:
        'error: the recipe names the model folder "my-model", which is not here\nwhere: old.png\nhint:  say where it is with --model\n',
    });
  });
});

describe("inspect", () => {
  test("prints a recipe, and cannot be made to steer the terminal", async () => {
    writeFileSync("old.png", encodePng(PIXELS, { ...RECIPE, prompt: "a\u001b[2Jb\nc 苹果" }));
    const { code, stdout } = await run(["inspect", "old.png"]);
    expect(code).toBe(0);
    expect(stdout.split("\n").slice(0, 6)).toEqual([
      "prompt           a\\u001b[2Jb\\nc 苹果",
      "negative prompt  blurry",
      "seed             18446744073709551615",
      "steps            7",
      "guidance scale   3",
      "size             64x32",
    ]);
    expect(JSON.parse((await run(["inspect", "old.png", "--json"])).stdout)).toEqual({ ...RECIPE, prompt: "a\u001b[2Jb\nc 苹果" });
  });

  test("an error says where, and what to do", async () => {
    expect(await run(["inspect", "nope"])).toMatchObject({
      code: 1,
      stdout: "",
      stderr: 'error: model folder "nope" does not exist\nwhere: nope\nhint:  look elsewhere\n',
    });
  });
});
