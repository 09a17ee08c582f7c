// Row 5: int4 takes a hit; leaving the final projection out helps. Patterns are matched against full names, as in Quanto.
import { DiffusionPipeline, demoModelFolder, qint4, quantize } from "halftone";

const choices = { all: undefined, "without-proj_out": "proj_out", "without-proj_out-and-attn2": ["proj_out", "*.attn2.*"] };
for (const [name, exclude] of Object.entries(choices)) {
  const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
  quantize(pipeline.transformer, { weights: qint4, exclude });
  const { images } = await pipeline.generate("a rocket on a black background", { seed: 3, numInferenceSteps: 12 });
  await images[0]?.save(`rocket-${name}.png`);
  await pipeline.dispose();
}
