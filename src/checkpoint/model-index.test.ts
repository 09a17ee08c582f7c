import { describe, expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { openFolder } from "./file-source-node.ts";
import { parseModelIndex, readModelIndex } from "./model-index.ts";

describe("model_index.json", () => {
  it("of the demo model", async () => {
    expect(await readModelIndex(await openFolder("models/demo"))).toEqual({
      className: "PixArtSigmaPipeline",
      diffusersVersion: "0.42.1",
      components: {
        scheduler: { library: "diffusers", className: "DPMSolverMultistepScheduler" },
        text_encoder: { library: "transformers", className: "T5EncoderModel" },
        tokenizer: { library: "transformers", className: "T5Tokenizer" },
        transformer: { library: "diffusers", className: "PixArtTransformer2DModel" },
        vae: { library: "diffusers", className: "AutoencoderKL" },
      },
      options: {},
    });
  });

  it("keeps options apart and absent components as null", () => {
    const index = {
      _class_name: "P",
      _name_or_path: "x",
      safety_checker: [null, null],
      force_zeros_for_empty_prompt: true,
      ratio: 0.5,
      tag: null,
    };
    expect(parseModelIndex(index, "x")).toEqual({
      className: "P",
      diffusersVersion: undefined,
      components: { safety_checker: null },
      options: { force_zeros_for_empty_prompt: true, ratio: 0.5, tag: null },
    });
  });

  it.each<[unknown, string]>([
    [[], "model_index.json holds no object, expected a pipeline's class and components"],
    [{}, 'model_index.json has no _class_name, expected a pipeline\'s class such as "PixArtSigmaPipeline"'],
    [
      { _class_name: ["a", "B"] },
      'model_index.json has a _class_name that is not a string, expected a pipeline\'s class such as "PixArtSigmaPipeline"',
    ],
    [{ _class_name: "P", vae: ["diffusers"] }, 'model_index.json has component "vae" as a list of 1, expected [library, class]'],
    [{ _class_name: "P", vae: ["diffusers", null] }, 'model_index.json has component "vae" as a list of 2, expected [library, class]'],
    [{ _class_name: "P", vae: { library: "x" } }, 'model_index.json has "vae" = an object, expected [library, class] or an option'],
    [{ _class_name: "P", "../vae": ["a", "B"] }, 'model_index.json has component "../vae", expected a plain folder name'],
    [{ _class_name: "P", "a/b": ["a", "B"] }, 'model_index.json has component "a/b", expected a plain folder name'],
    [{ _class_name: "P", "a\\b": ["a", "B"] }, 'model_index.json has component "a\\\\b", expected a plain folder name'],
    [{ _class_name: "P", "a..b": ["a", "B"] }, 'model_index.json has component "a..b", expected a plain folder name'],
    [{ _class_name: "P", "": ["a", "B"] }, 'model_index.json has component "", expected a plain folder name'],
  ])("%j", async (value, message) => {
    expect(await caught(() => parseModelIndex(value, "m/model_index.json"))).toEqual({
      kind: "CheckpointError",
      message,
      where: "m/model_index.json",
    });
  });
});
