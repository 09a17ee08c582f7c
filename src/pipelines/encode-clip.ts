/** Texts through a CLIP encoder: a hidden state of every token and one vector of each text. */
import type { ModelGraph } from "../graph/segment.ts";
import { ClipTextConfigSchema } from "../models/clip/config.ts";
import { type ClipTextSize, clipTextInputs, clipTextModelWithProjection } from "../models/clip/model.ts";
import { Executor } from "../runtime/executor.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import type { PipelineEvent } from "./events.ts";
import { callModel } from "./model-call.ts";
import { partConfig } from "./part-configs.ts";
import { modelOf, type PipelineParts } from "./parts.ts";
import type { PromptTokens } from "./prompt.ts";

/** What a CLIP encoder makes of texts. */
export interface ClipText {
  /** [texts, tokens, hidden_size] */
  readonly hidden: FloatTensor;
  /** [texts, projection_dim] */
  readonly pooled: FloatTensor;
}

/** The encoder with that name for so many texts of so many tokens. */
export function clipGraph(parts: PipelineParts, name: string, size: ClipTextSize): ModelGraph {
  const model = modelOf(parts, name);
  return clipTextModelWithProjection(
    model.weights(parts.integerProducts),
    partConfig(parts, name, ClipTextConfigSchema),
    model.dtype,
    size,
  );
}

/** Encodes token lists of equal length with the part of that name; `hiddenState` counts as in transformers, -2 being the last but one. */
export async function* encodeWithClip(
  parts: PipelineParts,
  name: string,
  tokens: readonly Pick<PromptTokens, "ids">[],
  hiddenState: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<PipelineEvent, ClipText> {
  const model = modelOf(parts, name);
  const config = partConfig(parts, name, ClipTextConfigSchema);
  const size = { batch: tokens.length, tokens: tokens[0]?.ids.length ?? 0, hiddenState };
  const executor = new Executor(parts.runtime, clipGraph(parts, name, size));
  try {
    const inputs = clipTextInputs(
      config,
      tokens.map(({ ids }) => ids),
    );
    const outputs = ["hidden_state", "text_embeds"] as const;
    const { hidden_state, text_embeds } = yield* callModel({ executor, model, phase: "encode", outputs, signal }, inputs);
    return { hidden: hidden_state, pooled: text_embeds };
  } finally {
    await executor.dispose();
  }
}
