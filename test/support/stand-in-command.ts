/** The command line in process: a library of a few lines stands in for models; files, pictures and events are real. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { runCommandLine } from "../../src/cli/program.ts";
import { EMBEDDED_MODEL_HASH } from "../../src/cli/request.ts";
import type { Library } from "../../src/cli/surroundings.ts";
import { RgbImage } from "../../src/image/image.ts";
import {
  CheckpointError,
  type GenerateOptions,
  type LoadOptions,
  type ModelPlan,
  type PipelineEvent,
  type QuantizationRequest,
  type Recipe,
  version,
} from "../../src/index.ts";

/** A picture of two pixels. */
export const PIXELS = { width: 2, height: 1, data: Uint8Array.of(255, 0, 0, 0, 0, 255) };
/** Its recipe. */
export const RECIPE: Recipe = {
  prompt: "a red apple",
  negativePrompt: "blurry",
  seed: "18446744073709551615",
  steps: 7,
  guidanceScale: 3,
  height: 32,
  width: 64,
  images: 1,
  imageIndex: 0,
  model: "demo",
  modelHash: EMBEDDED_MODEL_HASH,
  pipeline: "PixArtSigmaPipeline",
  scheduler: "DPMSolverMultistepScheduler",
  dtype: "float16",
  qtypes: {},
  useResolutionBinning: false,
  version,
};

/** Runs the command line with a library that can do what is given and nothing else, and collects what it says. */
export async function runWithLibrary(
  args: readonly string[],
  can: Partial<Library>,
  { isTTY, signal = new AbortController().signal }: { isTTY?: boolean | undefined; signal?: AbortSignal } = {},
) {
  const refuse = () => {
    throw new Error("not asked for here");
  };
  const library: Library = {
    openPipeline: refuse,
    inspectModel: refuse,
    planModel: refuse,
    quantizeCheckpoint: refuse,
    compareQuantization: refuse,
    runBenchmark: refuse,
    demoModelFolder: "/demo",
    ...can,
  };
  const written = { stdout: "", stderr: "" };
  const output = (side: "stdout" | "stderr") => ({
    isTTY,
    write(text: string) {
      written[side] += text;
      return true;
    },
  });
  const terminal = { stdout: output("stdout"), stderr: output("stderr"), env: {} };
  const code = await runCommandLine(args, { library, terminal, signal });
  return { code, ...written };
}

/** Every test of a file works in an empty folder of its own. */
export function workInEmptyFolder(): void {
  let folder: string;
  let start: string;
  beforeEach(() => {
    start = process.cwd();
    folder = mkdtempSync(join(tmpdir(), "halftone-cli-"));
    process.chdir(folder);
  });
  afterEach(() => {
    process.chdir(start);
    rmSync(folder, { recursive: true });
  });
}

/** What the library was asked for. */
interface Asked {
  model: string;
  load: LoadOptions;
  prompt: string;
  generate: GenerateOptions;
  quantization: QuantizationRequest | undefined;
}

/** How a run differs from a usual one. */
interface Change {
  readonly fail?: unknown;
  readonly abortAt?: number;
  readonly isTTY?: boolean;
  readonly warning?: string;
  /** What planning says against it. */
  readonly problem?: string;
}

/** Runs the command line and collects what it says and asks; the stand-in makes as many pictures as it is asked for. */
export async function run(args: readonly string[], change: Change = {}) {
  const asked: Asked[] = [];
  let disposed = 0;
  const controller = new AbortController();
  async function* stream(generate: GenerateOptions): AsyncGenerator<PipelineEvent> {
    const images = generate.numImagesPerPrompt ?? 1;
    const seed = generate.seed ?? 7;
    yield { type: "warning", message: change.warning ?? "the prompt was cut" };
    for (let index = 0; index < images; index++) {
      if (index === change.abortAt) controller.abort();
      if (change.fail !== undefined) throw change.fail;
      yield { type: "image", index, image: new RgbImage(PIXELS, { ...RECIPE, seed: String(seed), imageIndex: index, images }) };
    }
    const phases = [{ phase: "denoise", seconds: 14, peakResidentBytes: 2e9 }] as const;
    const latents = { dtype: "float32", shape: [images, 1, 1, 1], data: new Float32Array(images).fill(0.5) } as const;
    yield { type: "summary", report: { seed, seconds: 15, phases, peakResidentBytes: 2e9, latents, warnings: ["the prompt was cut"] } };
  }
  const library: Partial<Library> = {
    async planModel(_model, { prompt, maxMemory }) {
      return { problem: change.problem && `${prompt} in ${maxMemory}: ${change.problem}`, hint: "allow 2.0 GB" } as ModelPlan;
    },
    async openPipeline(model, load) {
      let quantization: QuantizationRequest | undefined;
      return {
        transformer: null,
        quantize(spec, patterns) {
          quantization = { spec, ...patterns };
        },
        stream(prompt, generate) {
          asked.push({ model, load, prompt, generate, quantization });
          return stream(generate);
        },
        async dispose() {
          disposed++;
        },
      };
    },
    async inspectModel(model) {
      throw new CheckpointError(`model folder "${model}" does not exist`, { where: model, hint: "look elsewhere" });
    },
  };
  const said = await runWithLibrary(args, library, { isTTY: change.isTTY, signal: controller.signal });
  return { ...said, asked: asked[0], disposed };
}
