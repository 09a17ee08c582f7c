/** Texts through an encoder of T5's kind: one call for all of them, so that the weights are read once. */
import type { ModelGraph } from "../graph/segment.ts";
import { T5ConfigSchema, UMT5ConfigSchema } from "../models/t5/config.ts";
import { type T5Size, t5Encoder, t5Inputs, umt5Encoder } from "../models/t5/model.ts";
import { Executor } from "../runtime/executor.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { PipelineEvent } from "./events.ts";
import { callModel } from "./model-call.ts";
import { partConfig } from "./part-configs.ts";
import { modelOf, type PipelineParts } from "./parts.ts";
import type { PromptTokens } from "./prompt.ts";

const T5 = { schema: T5ConfigSchema, encoder: t5Encoder };
const UMT5 = { schema: UMT5ConfigSchema, encoder: umt5Encoder };

/** The encoder with that name for so many texts of so many tokens. */
export function t5Graph(parts: PipelineParts, name: string, size: T5Size): ModelGraph {
  const model = modelOf(parts, name);
  const { schema, encoder } = kindOf(model);
  return encoder(model.weights(parts.integerProducts), partConfig(parts, name, schema), model.dtype, size);
}

function kindOf({ className }: DiffusionModel) {
  return className === "UMT5EncoderModel" ? UMT5 : T5;
}

/**
 * Encodes token lists of equal length with the part of that name, a T5 or UMT5; its mask decides which tokens are attended to.
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
  const config = partConfig(parts, name, kindOf(model).schema);
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
