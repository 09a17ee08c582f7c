// Row 8: one wide product for queries, keys and values. The numbers stay the same; on a CPU so does the time, more or less.
import { DiffusionPipeline, demoModelFolder } from "halftone";

const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
pipeline.quantize("qint8");
const apart = await pipeline.generate("a robot on an orange background", { seed: 7 });
pipeline.transformer?.fuseQkvProjections();
const fused = await pipeline.generate("a robot on an orange background", { seed: 7 });
await fused.images[0]?.save("robot-fused.png");
for (const { report } of [apart, fused])
  console.log(report.phases.map(({ phase, seconds }) => `${phase} ${seconds.toFixed(2)} s`).join(", "));
await pipeline.dispose();
