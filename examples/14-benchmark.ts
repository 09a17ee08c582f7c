// Row 14: a benchmark of your own program. `halftone bench` does the same with a process for each run, so that memory can be told apart.
import { type BenchCell, type BenchRun, DiffusionPipeline, demoModelFolder, freeze, runBenchmark } from "halftone";

/** Makes the pictures of one cell and says what it took. */
async function measure({ dtype, qtype, exclude, images }: BenchCell): Promise<BenchRun> {
  const secondsSince = (start: number) => (performance.now() - start) / 1000;
  const opening = performance.now();
  const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder, { dtype });
  const loadSeconds = secondsSince(opening);

  const quantizing = performance.now();
  if (qtype !== null) {
    pipeline.quantize(qtype, { exclude });
    for (const part of [pipeline.transformer, pipeline.textEncoder]) if (part !== null && part.marks.size > 0) await freeze(part);
  }
  const quantizeSeconds = secondsSince(quantizing);

  const weightBytes = { transformer: pipeline.transformer?.weightBytes ?? 0, text_encoder: pipeline.textEncoder?.weightBytes ?? 0 };
  const stepSeconds: number[] = [];
  let phases: BenchRun["phases"] = [];
  let recipe: BenchRun["recipe"];
  for await (const event of pipeline.stream("a fox on a green background", { seed: 1, numImagesPerPrompt: images, numInferenceSteps: 2 })) {
    if (event.type === "step") stepSeconds.push(event.seconds);
    if (event.type === "image") recipe = event.image.recipe;
    if (event.type === "summary") phases = [...event.report.phases];
  }
  await pipeline.dispose();
  return { loadSeconds, quantizeSeconds, phases, stepSeconds, weightBytes, recipe };
}

const { report } = await runBenchmark({ qtypes: ["none", "qint8"], images: [1, 4], runs: 2, measure, output: "benchmark" });
for (const { name, summary } of report.rows) console.log(name, `${summary?.seconds.median.toFixed(2)} s`);
