/** Texts through an encoder of T5's kind: one call for all of them, so that the weights are read once, and without padding where it has no say. */
import type { ModelGraph } from "../graph/segment.ts";
import { T5ConfigSchema, UMT5ConfigSchema } from "../models/t5/config.ts";
import { type T5Size, t5Encoder, t5Inputs, t5PackedInputs, umt5Encoder } from "../models/t5/model.ts";
import { Executor } from "../runtime/executor.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
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

/** How texts of so many tokens are encoded: as a batch if they are equally long, else one after the other in one sequence, without padding. */
export function t5SizeOf(lengths: readonly number[]): T5Size {
  const tokens = Math.max(...lengths);
  const sum = lengths.reduce((all, length) => all + length, 0);
  return sum === lengths.length * tokens ? { batch: lengths.length, tokens } : { batch: 1, tokens: sum, isPacked: true };
}

/**
 * Encodes token lists of equal length with the part of that name, a T5 or UMT5; what its mask leaves out is not attended to, and is zeros in the
 * result where texts have different lengths.
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
  const texts = tokens.map(({ ids, mask }) => ids.filter((_, i) => mask[i] === 1));
  const packed = t5SizeOf(texts.map(({ length }) => length));
  const isPacked = packed.isPacked === true;
  const size = isPacked ? packed : { batch: tokens.length, tokens: tokens[0]?.ids.length ?? 0 };
  const executor = new Executor(parts.runtime, t5Graph(parts, name, size));
  try {
    const inputs = isPacked
      ? t5PackedInputs(config, texts)
      : t5Inputs(
          config,
          tokens.map(({ ids }) => ids),
          tokens.map(({ mask }) => mask),
        );
    const { hidden } = yield* callModel({ executor, model, phase: "encode", outputs: ["hidden"], signal }, inputs);
    return isPacked ? unpacked(hidden, tokens) : hidden;
  } finally {
    await executor.dispose();
  }
}

/** Each text's tokens to their places: [1, tokens of all texts, width] -> [texts, tokens, width]. */
function unpacked({ shape, data }: FloatTensor, tokens: readonly Pick<PromptTokens, "mask">[]): FloatTensor {
  const width = shape.at(-1) as number;
  const length = tokens[0]?.mask.length ?? 0;
  const hidden = floatTensor([tokens.length, length, width]);
  let from = 0;
  for (const [text, { mask }] of tokens.entries()) {
    for (const [token, isText] of mask.entries()) {
      if (isText === 0) continue;
      hidden.data.set(data.subarray(from, from + width), (text * length + token) * width);
      from += width;
    }
  }
  return hidden;
}
