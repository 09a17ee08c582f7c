// Row 7: a float8 text encoder with an int8 transformer, in one line; the command line says it the same way (--qtype).
import { DiffusionPipeline, demoModelFolder } from "halftone";

const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
pipeline.quantize("text_encoder=qfloat8,transformer=qint8", { exclude: ["proj_out"] });
const { images } = await pipeline.generate("a sunflower on a white background", { seed: 5 });
await images[0]?.save("sunflower.png");
console.log(images[0]?.recipe.qtypes);
await pipeline.dispose();
