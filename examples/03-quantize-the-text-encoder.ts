// Row 3: the text encoder too, which is most of PixArt's memory. What is marked is frozen on the way when a picture is asked for.
import { DiffusionPipeline, demoModelFolder, qfloat8, quantize } from "halftone";

const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
quantize(pipeline.transformer, { weights: qfloat8 });
quantize(pipeline.textEncoder, { weights: qfloat8 });
const { images } = await pipeline.generate("a fox on a green background", { seed: 1 });
await images[0]?.save("fox-qfloat8.png");
for (const part of [pipeline.transformer, pipeline.textEncoder]) {
  console.log(`${part?.part}: ${part?.storedBytes} bytes as stored, ${part?.weightBytes} quantized`);
}
await pipeline.dispose();
