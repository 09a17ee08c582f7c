// Row 10: one picture and four of the same prompt; memory hardly moves, since pictures are decoded one by one.
import { DiffusionPipeline, demoModelFolder } from "halftone";

const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
for (const numImagesPerPrompt of [1, 4]) {
  const { images, report } = await pipeline.generate("a fox on a green background", { seed: 1, numImagesPerPrompt });
  for (const [i, image] of images.entries()) await image.save(`fox-${numImagesPerPrompt}-${i + 1}.png`);
  const peak = ((report.peakResidentBytes ?? 0) / 1e6).toFixed(0);
  console.log(`${images.length} pictures: ${report.seconds.toFixed(1)} s, peak ${peak} MB`);
}
await pipeline.dispose();
