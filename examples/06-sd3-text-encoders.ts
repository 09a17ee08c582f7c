// Row 6: Stable Diffusion 3 has three text encoders, and each is quantized on its own. The third, T5, is most of its memory; the second one's
// loss shows in the picture, and generating warns of it. Recommended: the first, the third, or both.
//
//   node examples/06-sd3-text-encoders.ts FOLDER-OR-ID
import { DiffusionPipeline, qint8, quantize } from "halftone";

const model = process.argv[2] ?? "stabilityai/stable-diffusion-3-medium-diffusers";
const prompt = "a photo of an astronaut riding a horse on mars";

for (const chosen of [[1], [3], [1, 3]]) {
  const pipeline = await DiffusionPipeline.fromPretrained(model, { dtype: "float16" });
  const encoders = [pipeline.textEncoder, pipeline.textEncoder2, pipeline.textEncoder3];
  for (const number of chosen) quantize(encoders[number - 1] ?? null, { weights: qint8 });
  const { images, report } = await pipeline.generate(prompt, { seed: 0 });
  await images[0]?.save(`astronaut-encoders-${chosen.join("-")}.png`);
  for (const part of encoders) console.log(`${part?.part}: ${part?.storedBytes} bytes as stored, ${part?.weightBytes} now`);
  for (const warning of report.warnings) console.log(warning);
  await pipeline.dispose();
}

// Without T5: less of the prompt is understood, and nothing of its 9.5 GB is read or downloaded. The command line says it with --qtype.
const small = await DiffusionPipeline.fromPretrained(model, { dtype: "float16", textEncoder3: null });
small.quantize("text_encoder=qint8,transformer=qint8");
const { images } = await small.generate(prompt, { seed: 0 });
await images[0]?.save("astronaut-without-t5.png");
await small.dispose();
