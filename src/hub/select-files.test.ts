import { expect, test } from "vitest";
import { CheckpointError, UnsupportedError, UsageError } from "../errors.ts";
import { type PipelineIndex, parsePipelineIndex, type Selection, selectComponentFiles, selectPipelineFiles } from "./select-files.ts";

const INDEX: PipelineIndex = {
  components: [
    { name: "tokenizer", className: "T5Tokenizer" },
    { name: "vae", className: "AutoencoderKL" },
  ],
  ignored: [],
};
const PLAIN = "vae/diffusion_pytorch_model.safetensors";
const HALF = "vae/diffusion_pytorch_model.fp16.safetensors";

function selection(changed: Partial<Selection> = {}): Selection {
  return { id: "maker/model", subfolder: "", variant: undefined, needs: () => true, ...changed };
}

function failure(work: () => unknown): Error & { hint?: string } {
  try {
    work();
  } catch (error) {
    return error as Error;
  }
  throw new Error("it did not fail");
}

test("takes what a quantized part needs, and nothing of other frameworks, no pictures, no code", () => {
  const wanted = ["model_index.json", "tokenizer/spiece.model", "vae/config.json", PLAIN, "vae/quanto_qmap.json"];
  const others = [
    "model.safetensors",
    "sd3_medium.safetensors",
    "tokenizer/picture.png",
    "vae/diffusion_pytorch_model.bin",
    "vae/diffusion_flax_model.msgpack",
    "vae/model.onnx",
    "vae/generation_config.json",
    "vae/code.py",
    "vae/nested/config.json",
    "vae_old/config.json",
  ];
  expect(selectPipelineFiles([...others, ...wanted], INDEX, selection())).toEqual([...wanted].sort());
});

test("leaves out what the repository asks to ignore", () => {
  const index = parsePipelineIndex(
    '{"_class_name": "X", "_ignore_files": ["vae/diffusion_pytorch_model.safetensors"], "vae": ["diffusers", "AutoencoderKL"], "safety_checker": [null, null]}',
    "here",
  );
  expect(index.components).toEqual([{ name: "vae", className: "AutoencoderKL" }]);
  const files = ["vae/config.json", PLAIN, HALF];
  expect(selectPipelineFiles(files, index, selection({ variant: "fp16" }))).toEqual(["model_index.json", "vae/config.json", HALF]);
});

test("a component alone", () => {
  const paths = ["config.json", "diffusion_pytorch_model.safetensors", "README.md", "other/config.json"];
  expect(selectComponentFiles(paths, selection())).toEqual(["config.json", "diffusion_pytorch_model.safetensors"]);
});

test("a component that is named but not there", () => {
  const error = failure(() => selectPipelineFiles(["vae/config.json"], INDEX, selection()));
  expect(error).toBeInstanceOf(CheckpointError);
  expect(error.message).toBe('model_index.json names the component "tokenizer", but the repository has no such folder');
});

test("weights that only other programs read", () => {
  const paths = ["tokenizer/spiece.model", "vae/config.json", "vae/diffusion_pytorch_model.bin"];
  const error = failure(() => selectPipelineFiles(paths, INDEX, selection()));
  expect(error).toBeInstanceOf(UnsupportedError);
  expect(error.message).toBe(
    `component "vae" has no weights that can be read: expected *.safetensors in diffusers' layout, got diffusion_pytorch_model.bin`,
  );
  expect(error.hint).toBe("pickled .bin files can run code and are never read; look for a revision or a copy with safetensors");
});

test("a variant that no component has is answered with what there is", () => {
  const paths = ["tokenizer/spiece.model", "vae/config.json", PLAIN, HALF];
  const error = failure(() => selectPipelineFiles(paths, INDEX, selection({ variant: "fp61" })));
  expect(error).toBeInstanceOf(UsageError);
  expect(error.message).toBe('no component has weights of the variant "fp61": vae has no variant and "fp16"');
  expect(error.hint).toBe('ask for variant "fp16", or leave it out');
});

test("weights that exist as a variant only", () => {
  const paths = ["tokenizer/spiece.model", "vae/config.json", HALF];
  const error = failure(() => selectPipelineFiles(paths, INDEX, selection()));
  expect(error).toBeInstanceOf(UsageError);
  expect(error.message).toBe('component "vae" has no weights without a variant, only "fp16"');
  expect(error.hint).toBe('ask for variant "fp16"');
});

test.each([
  ["[]", "model_index.json holds no object, expected a pipeline's class and components"],
  ["{", "model_index.json is not JSON"],
  ['{"_class_name": "X", "../up": ["diffusers", "AutoencoderKL"]}', 'model_index.json has component "../up", expected a plain folder name'],
])("the index %s is refused", (text, message) => {
  const error = failure(() => parsePipelineIndex(text, "here"));
  expect(error).toBeInstanceOf(CheckpointError);
  expect(error.message).toBe(message);
});
