// Row 4: one picture in every qtype. 8 bits look like the original, 4 nearly so, 2 do not.
import { DiffusionPipeline, demoModelFolder, qfloat8, qint2, qint4, qint8, quantize } from "halftone";

for (const qtype of [qfloat8, qint8, qint4, qint2]) {
  const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
  quantize(pipeline.transformer, { weights: qtype });
  const { images } = await pipeline.generate("a castle on a pink background", { seed: 2, numInferenceSteps: 12 });
  await images[0]?.save(`castle-${qtype.name}.png`);
  await pipeline.dispose();
}
