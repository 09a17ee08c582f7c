/** Texts through a T5 encoder: one call for all of them, so that the weights are read once. */
import type { ModelGraph } from "../graph/segment.ts";
import { T5ConfigSchema } from "../models/t5/config.ts";
import { type T5Size, t5Encoder, t5Inputs } from "../models/t5/model.ts";
import { Executor } from "../runtime/executor.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import type { PipelineEvent } from "./events.ts";
import { callModel } from "./model-call.ts";
import { partConfig } from "./part-configs.ts";
import { modelOf, type PipelineParts } from "./parts.ts";
import type { PromptTokens } from "./prompt.ts";

/** The encoder with that name for so many texts of so many tokens. */
export function t5Graph(parts: PipelineParts, name: string, size: T5Size): ModelGraph {
  const model = modelOf(parts, name);
  return t5Encoder(model.weights(), partConfig(parts, name, T5ConfigSchema), model.dtype, size);
}

/**
 * Encodes token lists of equal length with the part of that name; its mask decides which tokens are attended to.
 *
 * Shapes: result [texts, tokens, d_model].
 */
export async function* encodeWithT5(
  parts: PipelineParts,
  name: string,
  tokens: readonly Pick<PromptTokens, "ids" | "mask">[],
  signal: AbortSignal | undefined,
): AsyncGenerator<PipelineEvent, FloatTensor> {
  const model = modelOf(parts, name);
  const config = partConfig(parts, name, T5ConfigSchema);
  const executor = new Executor(parts.runtime, t5Graph(parts, name, { batch: tokens.length, tokens: tokens[0]?.ids.length ?? 0 }));
  try {
    const inputs = t5Inputs(
      config,
      tokens.map(({ ids }) => ids),
      tokens.map(({ mask }) => mask),
    );
    const { hidden } = yield* callModel({ executor, model, phase: "encode", outputs: ["hidden"], signal }, inputs);
    return hidden;
  } finally {
    await executor.dispose();
  }
}
