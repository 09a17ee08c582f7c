/**
 * What Stable Diffusion 3's transformer is told of a text: the two CLIPs' features side by side, padded to T5's width, then T5's tokens; and
 * the CLIPs' pooled vectors side by side.
 *
 * Source: diffusers pipelines/stable_diffusion_3/pipeline_stable_diffusion_3.py@0.42.1 encode_prompt. Texts are taken as they are, and T5 gets
 * no padding mask. Differs: an encoder's texts go through it in one call, with the same result; two calls are needed where clipSkip is not 0,
 * since nothing is ever skipped for the negative prompt.
 */
import type { SD3Text } from "../models/sd3/model.ts";
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";
import { joinAlong } from "./batch.ts";
import { type ClipText, encodeWithClip } from "./encode-clip.ts";
import { encodeWithT5 } from "./encode-t5.ts";
import type { PipelineEvent, WarningEvent } from "./events.ts";
import { optionalModelOf, type PipelineParts, tokenizerOf } from "./parts.ts";
import { guidedTexts, type PromptTokens, tokenizeTexts } from "./prompt.ts";
import type { Request } from "./request.ts";

/** Lengths that the configs decide. */
export interface TextSizes {
  readonly clipTokens: number;
  /** Numbers of each of T5's tokens. */
  readonly width: number;
}

/** Encodes a request's texts, the negative one first when guided; all parts are of that many texts. */
export async function* encodeTexts(parts: PipelineParts, request: Request, sizes: TextSizes): AsyncGenerator<PipelineEvent, SD3Text> {
  const clips: ClipText[] = [];
  for (const name of ["", "_2"] as const) {
    const tokens = yield* tokensFor(parts, name, request, sizes.clipTokens);
    clips.push(yield* withClip(parts, `text_encoder${name}`, tokens, request));
  }
  const [first, second] = clips as [ClipText, ClipText];
  const features = padded(joinAlong(2, first.hidden, second.hidden), sizes.width);
  const third = yield* withT5(parts, request, sizes.width);
  return { encoderHiddenStates: joinAlong(1, features, third), pooledProjections: joinAlong(1, first.pooled, second.pooled) };
}

function* tokensFor(
  parts: PipelineParts,
  end: "" | "_2" | "_3",
  request: Request,
  maxLength: number,
): Generator<WarningEvent, PromptTokens[]> {
  const [positive, negative] = {
    "": [request.prompt, request.negativePrompt],
    _2: [request.prompt2, request.negativePrompt2],
    _3: [request.prompt3, request.negativePrompt3],
  }[end] as [string, string];
  const named = (name: string, text: string) => ({ name: `${name} of text_encoder${end}`, text });
  const texts = guidedTexts(request.guided, named("negative prompt", negative), named("prompt", positive));
  return yield* tokenizeTexts(tokenizerOf(parts, `tokenizer${end}`), texts, maxLength);
}

async function* withClip(
  parts: PipelineParts,
  name: string,
  tokens: readonly PromptTokens[],
  { clipSkip, guided, signal }: Request,
): AsyncGenerator<PipelineEvent, ClipText> {
  if (clipSkip === 0 || !guided) return yield* encodeWithClip(parts, name, tokens, -2 - clipSkip, signal);
  const negative = yield* encodeWithClip(parts, name, tokens.slice(0, 1), -2, signal);
  const positive = yield* encodeWithClip(parts, name, tokens.slice(1), -2 - clipSkip, signal);
  return { hidden: joinAlong(0, negative.hidden, positive.hidden), pooled: joinAlong(0, negative.pooled, positive.pooled) };
}

/** Zeros where the pipeline has no third encoder. */
async function* withT5(parts: PipelineParts, request: Request, width: number): AsyncGenerator<PipelineEvent, FloatTensor> {
  const { guided, maxSequenceLength, signal } = request;
  if (optionalModelOf(parts, "text_encoder_3") === undefined) return floatTensor([guided ? 2 : 1, maxSequenceLength, width]);
  const tokens = yield* tokensFor(parts, "_3", request, maxSequenceLength);
  const unmasked = tokens.map(({ ids }) => ({ ids, mask: ids.map(() => 1) }));
  return yield* encodeWithT5(parts, "text_encoder_3", unmasked, signal);
}

/** Zeros behind the features: [texts, tokens, features] -> [texts, tokens, width]. */
function padded(features: FloatTensor, width: number): FloatTensor {
  const [texts = 0, tokens = 0, used = 0] = features.shape;
  return used === width ? features : joinAlong(2, features, floatTensor([texts, tokens, width - used]));
}
