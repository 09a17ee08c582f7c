/** What the command line refuses before it asks the library for anything. */
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { run, workInEmptyFolder } from "../../test/support/stand-in-command.ts";
import { version } from "../index.ts";

workInEmptyFolder();

describe("misuse", () => {
  test.each<[args: string[], message: string, hint?: string]>([
    [["genrate", "x"], 'there is no command "genrate"', "did you mean halftone generate?"],
    [["a red apple"], 'there is no command "a red apple"', 'for a picture: halftone generate "a red apple"'],
    [["generate"], "generate needs a prompt, got none", 'write it in quotes: halftone generate "a red apple"'],
    [
      ["generate", "a", "red", "apple"],
      'generate takes one prompt, got 3: "a", "red", "apple"',
      'put the prompt in quotes: halftone generate "a red apple"',
    ],
    [["generate", "x", "--stesp", "4"], 'there is no option "--stesp"', "did you mean --steps?"],
    [["generate", "x", "--stesp=4"], 'there is no option "--stesp"', "did you mean --steps?"],
    [["generate", "x", "--sampler-name", "y"], 'there is no option "--sampler-name"', "halftone generate --help lists the options"],
    [["generate", "x", "--lora", "a"], "option --lora was given, but LoRA weights are not supported"],
    [["generate", "x", "--controlnet=a"], "option --controlnet was given, but ControlNet is not supported"],
    [["--steps", "4", "generate", "x"], "option --steps stands before its command", "write halftone generate ... --steps ..."],
    [["generate", "x", "--steps"], "--steps needs a value, got none"],
    [["generate", "x", "--output", "--quiet"], "--output needs a value, got the option --quiet"],
    [["generate", "x", "--steps", "0"], '--steps expects a whole number from 1 to 10000, got "0"'],
    [["generate", "x", "--steps", "-5"], '--steps expects a whole number from 1 to 10000, got "-5"'],
    [["generate", "x", "--steps=2.5"], '--steps expects a whole number from 1 to 10000, got "2.5"'],
    [["generate", "x", "--images", "0"], '--images expects a whole number from 1 to 10000, got "0"'],
    [["generate", "x", "--guidance-scale", "NaN"], '--guidance-scale expects a number from 0 to 1000, got "NaN"'],
    [["generate", "x", "--guidance-scale", "1e999"], '--guidance-scale expects a number from 0 to 1000, got "1e999"'],
    [["generate", "x", "--seed", "1.5"], '--seed expects a whole number from -2^63 to 2^64 - 1, got "1.5"'],
    [["generate", "x", "--height", "0x10"], '--height expects a whole number from 1 to 65536, got "0x10"'],
    [["generate", "x", "--width", "9999999"], '--width expects a whole number from 1 to 65536, got "9999999"'],
    [["generate", "x", "--threads", "0"], '--threads expects a whole number from 1 to 256, got "0"'],
    [["generate", "x", "--dtype", "flaot16"], '--dtype expects float32, float16 or bfloat16, got "flaot16"', "did you mean float16?"],
    [["generate", "x", "--model", ""], "--model expects a folder or a Hub id, got an empty text"],
    [["generate", "x", "--output", "a.jpg"], '--output expects a file name that ends in .png, got "a.jpg"'],
    [["generate", "x", "--save-latents", "a.png"], '--save-latents expects a file name that ends in .safetensors, got "a.png"'],
    [["inspect"], "inspect needs a model|picture.png, got none"],
    [
      ["inspect", "a", "b"],
      'inspect takes one model or picture, got 2: "a", "b"',
      'put the model or picture in quotes: halftone inspect "a b"',
    ],
    [["generate", "x", "--max-memory", "much"], '--max-memory expects an amount of memory, got "much"'],
    [["inspect", "a", "--max-memory", "1TB"], '--max-memory expects an amount of memory, got "1TB"'],
    [["inspect", "a", "--steps", "4"], 'there is no option "--steps"'],
  ])("%j", async (args, message, hint) => {
    const { code, stdout, stderr, asked } = await run(args);
    const [first, second] = stderr.split("\n");
    expect(first).toBe(`error: ${message}`);
    if (hint !== undefined) expect(second).toBe(`hint:  ${hint}`);
    expect({ code, stdout, asked }).toEqual({ code: 2, stdout: "", asked: undefined });
    expect(readdirSync(".")).toEqual([]);
  });

  test("no command prints the help, and where to begin", async () => {
    const { code, stdout, stderr } = await run([]);
    expect(stderr).toContain("Usage: halftone");
    expect(stderr).toContain(
      'error: no command was given\nhint:  for a first picture: halftone generate "a red apple on a blue background"\n',
    );
    expect([code, stdout]).toEqual([2, ""]);
  });

  test("help and version are no misuse", async () => {
    expect(await run(["--version"])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: "" });
    expect(await run(["generate", "--help"])).toMatchObject({ code: 0, stdout: expect.stringContaining("--negative-prompt"), stderr: "" });
    expect(await run(["help", "inspect"])).toMatchObject({ code: 0, stdout: expect.stringContaining("picture.png") });
  });

  test("an option of the library is called by its flag", async () => {
    const { UsageError } = await import("../index.ts");
    const fail = new UsageError("height must be a multiple of 16, got 100", { hint: "the nearest that works is 96" });
    expect(await run(["generate", "x", "--height", "100"], { fail })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("error: --height must be a multiple of 16, got 100\nhint:  the nearest that works is 96\n"),
      disposed: 1,
    });
    const lacking = new UsageError("option prompt2 was given, but a PixArtSigmaPipeline has no use for it");
    expect((await run(["generate", "x", "--prompt-2", "y"], { fail: lacking })).stderr).toContain(
      "error: option --prompt-2 was given, but a",
    );
  });
});
