/** A fake Hub, an empty cache and one small model: the setting of the tests that download. Everything is gone when the test ends. */

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type HubEvent, type HubOptions, type ResolvedModel, resolveModel } from "../../src/hub/hub-node.ts";
import { type HubSurroundings, hubSurroundings } from "../../src/hub/session-node.ts";
import { FakeHub, type FakeRepository, patternBytes } from "./fake-hub.ts";

export const ID = "maker/model";
export const COMMIT = "a".repeat(40);
export const WEIGHTS = "vae/diffusion_pytorch_model.safetensors";
export const WEIGHTS_BYTES = 300_000;

/** A pipeline of a scheduler and a VAE. */
export function smallModel(): Record<string, string | Uint8Array> {
  const components = { scheduler: ["diffusers", "EulerDiscreteScheduler"], vae: ["diffusers", "AutoencoderKL"] };
  return {
    "README.md": "# A model\n",
    "model_index.json": JSON.stringify({ _class_name: "PixArtSigmaPipeline", ...components }),
    "scheduler/scheduler_config.json": '{"_class_name": "EulerDiscreteScheduler"}',
    "vae/config.json": '{"_class_name": "AutoencoderKL"}',
    [WEIGHTS]: patternBytes(WEIGHTS_BYTES, 1),
  };
}

export interface Bench {
  readonly hub: FakeHub;
  readonly cacheDir: string;
  readonly events: HubEvent[];
  readonly surroundings: HubSurroundings;
  resolve(options?: HubOptions, surroundings?: Partial<HubSurroundings>): Promise<ResolvedModel>;
  /** Names of the blobs, partial files included. */
  blobs(): Promise<string[]>;
}

/** Starts a Hub with the small model, or with other repositories. */
export async function startBench(repositories?: Record<string, FakeRepository>): Promise<Bench> {
  const hub = await new FakeHub(repositories ?? { [ID]: { refs: { main: COMMIT }, commits: { [COMMIT]: smallModel() } } }).listen();
  const cacheDir = await mkdtemp(join(tmpdir(), "halftone-hub-"));
  const events: HubEvent[] = [];
  const variables = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(cacheDir, "home") };
  const surroundings = { ...hubSurroundings, variables, retryDelayMs: 1 };
  onTestFinished(async () => {
    await hub.close();
    await rm(cacheDir, { recursive: true, force: true });
  });
  return {
    hub,
    cacheDir,
    events,
    surroundings,
    resolve: (options = {}, changed = {}) =>
      resolveModel(ID, { cacheDir, onProgress: (event) => events.push(event), ...options }, { ...surroundings, ...changed }),
    blobs: async () => (await readdir(join(cacheDir, "models--maker--model", "blobs")).catch(() => [])).sort(),
  };
}

/** Runs work that must fail and returns its error. */
export async function failureFrom(work: Promise<unknown>): Promise<Error & { where?: string | undefined; hint?: string | undefined }> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Error) {
      return error;
    }
    throw error;
  }
  throw new Error("it did not fail");
}
