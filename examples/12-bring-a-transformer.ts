// Row 12: open a pipeline without its transformer and assign one later, or pass one in: neither reads nor downloads the checkpoint's own.
import { DiffusionModel, DiffusionPipeline, demoModelFolder } from "halftone";

const transformer = await DiffusionModel.fromPretrained(demoModelFolder, { subfolder: "transformer" });
const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder, { transformer: null });
pipeline.transformer = transformer;
const later = await pipeline.generate("a rocket on a black background", { seed: 3 });
await later.images[0]?.save("rocket-assigned.png");

const second = await DiffusionPipeline.fromPretrained(demoModelFolder, { transformer });
const passed = await second.generate("a rocket on a black background", { seed: 3 });
await passed.images[0]?.save("rocket-passed.png");
await pipeline.dispose();
await second.dispose();
await transformer.dispose();
