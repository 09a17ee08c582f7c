// Row 1: load a pipeline from a diffusers folder (or a Hub id such as "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS") and make a picture.
import { DiffusionPipeline, demoModelFolder } from "halftone";

const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder, { dtype: "float16" });
const { images, report } = await pipeline.generate("a red apple on a blue background", { seed: 0 });
await images[0]?.save("apple.png");
for (const { phase, seconds } of report.phases) console.log(`${phase}: ${seconds.toFixed(2)} s`);
await pipeline.dispose();
