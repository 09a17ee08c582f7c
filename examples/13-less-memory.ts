import { DiffusionPipeline, demoModelFolder } from "halftone";

// A limit for the process: how parts are held, guidance and decoding are planned so that it is kept, or the request is refused.
const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder, { maxMemory: "1GB" });
const request = { seed: 0, numInferenceSteps: 4 };

// Each part as one program, in memory while its phase lasts.
pipeline.enableModelCpuOffload();
const { images, report } = await pipeline.generate("a red apple on a blue background", request);
await images[0]?.save("apple-model-offload.png");
for (const { phase, predictedPeakBytes, peakAnonymousBytes } of report.phases) console.log(phase, predictedPeakBytes, peakAnonymousBytes);

// A few segments at a time: the least memory, in some more time. The picture is the same.
pipeline.enableSequentialCpuOffload();
const streamed = await pipeline.generate("a red apple on a blue background", request);
await streamed.images[0]?.save("apple-sequential-offload.png");
await pipeline.dispose();
