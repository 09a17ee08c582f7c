// Row 9: bfloat16 instead of float16. The dtype rounds weights and noise, so the same seed gives a slightly different picture.
import { DiffusionPipeline, demoModelFolder } from "halftone";

for (const dtype of ["float32", "float16", "bfloat16"] as const) {
  const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder, { dtype });
  const { images } = await pipeline.generate("a castle on a yellow background", { seed: 3, numInferenceSteps: 12 });
  await images[0]?.save(`castle-${dtype}.png`);
  await pipeline.dispose();
}
