/** The printed graph of each tiny model: a refactoring must leave them as they are, a change of a model shows as a diff. Update: npx vitest -u. */
import { describe, expect, it } from "vitest";
import { printGraph } from "../../src/graph/printer.ts";
import { buildGraphs } from "../../src/graph/segment.ts";
import { MODEL_CLASSES } from "../../src/models/registry.ts";
import { openFixtureModel } from "../support/model.ts";

const MODELS = [
  { name: "t5", className: "T5EncoderModel", baseName: "model" },
  { name: "umt5", className: "UMT5EncoderModel", baseName: "model" },
  { name: "clip", className: "CLIPTextModelWithProjection", baseName: "model" },
  { name: "pixart-sigma", className: "PixArtTransformer2DModel", baseName: "diffusion_pytorch_model" },
  { name: "pixart-alpha", className: "PixArtTransformer2DModel", baseName: "diffusion_pytorch_model" },
  { name: "auraflow", className: "AuraFlowTransformer2DModel", baseName: "diffusion_pytorch_model" },
  { name: "sd35-medium", className: "SD3Transformer2DModel", baseName: "diffusion_pytorch_model" },
  { name: "vae", className: "AutoencoderKL", baseName: "diffusion_pytorch_model" },
] as const;

describe.each(MODELS)("$name", ({ name, className, baseName }) => {
  it.each(["float32", "bfloat16"] as const)("loaded as %s", async (dtype) => {
    const { config, weights } = await openFixtureModel(`models/${name}`, baseName);
    const models = MODEL_CLASSES[className]?.probe(weights, config, dtype, name) ?? [];
    const text = models.flatMap((model) => buildGraphs(model, 1).map(({ names, graph }) => `# ${names}\n${printGraph(graph)}`)).join("\n");
    await expect(text).toMatchFileSnapshot(`snapshots/${name}-${dtype}.txt`);
  });
});
