/**
 * A fast run: the transformer and the text encoders multiply qint8 weights in integers. The same parts can make the next picture faithfully,
 * since it is the graphs that differ and nothing that is stored.
 */
import { exactIntegerProducts } from "../runtime/integer-products.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { PipelineParts } from "./parts.ts";

/** The parts as a fast run takes them. Errors: EngineError on a processor where the engine does not multiply integers exactly. */
export async function fastParts(parts: PipelineParts): Promise<PipelineParts> {
  return { ...parts, integerProducts: await exactIntegerProducts(parts.runtime) };
}

/** What a fast run will not make faster, in a sentence for each part; a float text encoder is passed over, as it takes little of the time. */
export function fastWarnings({ models }: PipelineParts): string[] {
  return Array.from(models).flatMap(([part, model]) => {
    if (model === null || model.neverQuantized !== undefined) return [];
    const counts = countQTypes(model);
    const others = Array.from(counts).filter(([qtype]) => qtype !== "qint8");
    const isAllFloat = counts.size === 0 && part === "transformer";
    if (others.length === 0 && !isAllFloat) return [];
    const layers = isAllFloat
      ? "whose layers are all in float"
      : `whose ${others.map(([qtype, count]) => `${count} layers of ${qtype}`).join(" and ")}`;
    return [`fast speeds up layers stored as qint8 only: ${part}, ${layers}, ${isAllFloat ? "is" : "are"} calculated as without it`];
  });
}

/** Layers by qtype, those among them that will be quantized before the run. */
function countQTypes({ marks, qtypes }: DiffusionModel): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of [...qtypes.values(), ...Array.from(marks.values(), ({ qtype }) => qtype.name)])
    counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
