// Row 2: quantize the transformer in two steps, mark and replace, and call the pipeline as before. Row 4 has the other qtypes.
import { DiffusionPipeline, demoModelFolder, freeze, qfloat8, quantize } from "halftone";

const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
quantize(pipeline.transformer, { weights: qfloat8 });
await freeze(pipeline.transformer);
const { images } = await pipeline.generate("a red apple on a blue background", { seed: 0 });
await images[0]?.save("apple-qfloat8.png");
await pipeline.dispose();
