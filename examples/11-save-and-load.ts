// Row 11: save a quantized transformer and load it again. The files are Quanto's: Python's QuantizedPixArtTransformer2DModel reads them too.
import { DiffusionModel, DiffusionPipeline, demoModelFolder, freeze, qint8, quantize } from "halftone";

const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder, { dtype: "float16" });
quantize(pipeline.transformer, { weights: qint8 });
await freeze(pipeline.transformer);
await pipeline.transformer?.savePretrained("transformer-int8");
await pipeline.dispose();

const transformer = await DiffusionModel.fromPretrained("transformer-int8", { dtype: "float16" });
console.log(`${transformer.qtypes.size} layers, ${transformer.weightBytes} bytes`);
const again = await DiffusionPipeline.fromPretrained(demoModelFolder, { dtype: "float16", transformer });
const { images } = await again.generate("a house on a teal background", { seed: 4 });
await images[0]?.save("house.png");
await again.dispose();
await transformer.dispose();
