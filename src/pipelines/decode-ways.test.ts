import { describe, expect, it } from "vitest";
import { parseConfig } from "../checkpoint/config.ts";
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { Weights } from "../checkpoint/weights.ts";
import { AutoencoderKLConfigSchema } from "../models/autoencoder-kl/config.ts";
import { DECODE_WAYS, decodeCost } from "./decode-ways.ts";

/** The VAE of PixArt-Σ, and of Stable Diffusion XL. */
const config = parseConfig(
  AutoencoderKLConfigSchema,
  {
    block_out_channels: [128, 256, 512, 512],
    down_block_types: Array(4).fill("DownEncoderBlock2D"),
    up_block_types: Array(4).fill("UpDecoderBlock2D"),
    layers_per_block: 2,
  },
  "config",
  "test",
);

/** Weights of which nothing but names, shapes and dtype is known. */
function hollowWeights(path = ""): Weights {
  const tensor = (name: string, shape: readonly number[]) => ({ name: path + name, dtype: "float16", shape }) as unknown as StoredTensor;
  const at = (...names: readonly (string | number)[]) => hollowWeights(`${path}${names.join(".")}.`);
  return { path, at, tensor, has: () => true } as unknown as Weights;
}

const decoder = { config, weights: hollowWeights(), dtype: "float32" } as const;

const costs = (size: number) => DECODE_WAYS.map((way) => decodeCost(decoder, way, size, size));

describe("the ways to decode", () => {
  it("knows no way that takes more memory than the one before it, and begins with whole", () => {
    const bytes = costs(1024).map(({ anonymousBytes }) => anonymousBytes);
    expect(bytes).toEqual(bytes.toSorted((a, b) => b - a));
    expect(DECODE_WAYS[0]).toEqual({ kind: "whole" });
  });

  it("needs room for files only where maps are kept in them", () => {
    for (const { way, fileBytes } of costs(512)) {
      // The features before the last doubling, 256 channels of 256 x 256, and those after, 128 of 512 x 512.
      if (way.kind === "strips" && way.maps === "file") expect(fileBytes / (4 * 512 * 512)).toBeCloseTo(256 / 4 + 128, 0);
      else expect(fileBytes).toBe(0);
    }
  });

  it("decodes 1024 x 1024 pixels in a few hundred megabytes with maps in files", () => {
    const { anonymousBytes } = decodeCost(decoder, { kind: "strips", rows: 16, maps: "file" }, 1024, 1024);
    expect(anonymousBytes).toBeLessThan(600e6);
  });
});
