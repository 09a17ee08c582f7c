/**
 * The encoders of T5 (version 1.0 with ReLU, 1.1 with gated GELU) and UMT5: text tokens in, one vector a token out.
 *
 * Attention is not scaled but biased by the distance of two tokens: T5 stores one table of biases in block 0 for all blocks, UMT5 one in
 * every block. Source: transformers models/t5/modeling_t5.py@5.23 T5EncoderModel, models/umt5/modeling_umt5.py@5.23 UMT5EncoderModel;
 * differs: in float16 Python cuts hidden states off at 65504, which nothing here reaches, since states are float32.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, cast, gather, gelu, multiHeadAttention, multiply, relu, reshape, transpose } from "../../graph/operators.ts";
import type { ModelGraph, State } from "../../graph/segment.ts";
import { linear } from "../../nn/linear.ts";
import { rmsNorm } from "../../nn/norm.ts";
import { checkFloat, conversions } from "../../nn/weight.ts";
import type { ComputeDType } from "../../tensor/dtype.ts";
import { floatTensor, intTensor, type Tensor } from "../../tensor/tensor.ts";
import type { T5Config } from "./config.ts";
import { relativePositionBuckets } from "./relative-position.ts";

/** Added to the scores of padding: the lowest finite float32, as transformers does. */
const MASKED = -3.4028234663852886e38;

/** Size of one call. */
export interface T5Size {
  batch: number;
  tokens: number;
  /** Whether a sequence holds several texts, one after the other, none of which sees another: see t5PackedInputs. Default false. */
  isPacked?: boolean;
}

/**
 * T5's encoder for one size.
 *
 * Inputs: see t5Inputs. Output `hidden` [batch, tokens, d_model].
 */
export function t5Encoder(weights: Weights, config: T5Config, dtype: ComputeDType, size: T5Size): ModelGraph {
  return encoderOf(weights, config, dtype, size, "first block");
}

/** UMT5's encoder for one size: as t5Encoder. */
export function umt5Encoder(weights: Weights, config: T5Config, dtype: ComputeDType, size: T5Size): ModelGraph {
  return encoderOf(weights, config, dtype, size, "every block");
}

/** `biasesIn`: which blocks store a table of position biases. */
function encoderOf(
  weights: Weights,
  config: T5Config,
  dtype: ComputeDType,
  { batch, tokens, isPacked = false }: T5Size,
  biasesIn: "first block" | "every block",
): ModelGraph {
  const encoder = weights.at("encoder");
  const blocks = Array.from({ length: config.num_layers }, (_, i) => encoder.at("block", i));
  const bias = (g: Graph, at: Weights, { mask_bias, position_buckets }: State) =>
    attentionBias(g, at, config, position_buckets as Value, mask_bias as Value);
  return {
    dtype,
    inputs: {
      input_ids: { shape: [batch, tokens], dtype: "int64" },
      mask_bias: { shape: [batch, 1, isPacked ? tokens : 1, tokens], dtype: "float32" },
      position_buckets: { shape: [tokens, tokens], dtype: "int64" },
    },
    segments: [
      {
        name: "embed_tokens",
        build: (g, state) => ({
          hidden: embedTokens(g, weights, config, state.input_ids as Value),
          ...(biasesIn === "first block" ? { attention_bias: bias(g, encoder.at("block", 0), state) } : {}),
        }),
      },
      ...blocks.map((at, i) => ({
        name: `encoder.block.${i}`,
        build: (g: Graph, state: State) => ({
          hidden: block(
            g,
            at,
            config,
            state.hidden as Value,
            biasesIn === "first block" ? (state.attention_bias as Value) : bias(g, at, state),
          ),
        }),
      })),
      {
        name: "encoder.final_layer_norm",
        build: (g, { hidden }) => ({ hidden: rmsNorm(g, encoder.at("final_layer_norm"), hidden as Value, config.layer_norm_epsilon) }),
      },
    ],
    outputs: ["hidden"],
  };
}

/**
 * The inputs of one call.
 *
 * Shapes: ids and mask are batch lists of `tokens` numbers; a mask value is 1 for text and 0 for padding.
 */
export function t5Inputs(
  config: T5Config,
  ids: readonly (readonly number[])[],
  mask: readonly (readonly number[])[],
): Record<string, Tensor> {
  const batch = ids.length;
  const tokens = ids[0]?.length ?? 0;
  const buckets = relativePositionBuckets(tokens, config.relative_attention_num_buckets, config.relative_attention_max_distance);
  const bias = Float32Array.from(mask.flat(), (keep) => (keep === 1 ? 0 : MASKED));
  return {
    input_ids: intTensor([batch, tokens], ids.flat()),
    mask_bias: floatTensor([batch, 1, 1, tokens], bias),
    position_buckets: intTensor([tokens, tokens], buckets),
  };
}

/**
 * The inputs of one call for texts of different lengths in one sequence, without padding: fewer tokens than a batch has, whose texts are all
 * as long as the longest. A token sees those of its own text alone, at the distances that they have there.
 *
 * Shapes: input_ids [1, all tokens], mask_bias [1, 1, all tokens, all tokens], position_buckets [all tokens, all tokens].
 */
export function t5PackedInputs(config: T5Config, texts: readonly (readonly number[])[]): Record<string, Tensor> {
  const tokens = texts.reduce((sum, ids) => sum + ids.length, 0);
  const bias = new Float32Array(tokens * tokens).fill(MASKED);
  const buckets = Array<number>(tokens * tokens).fill(0);
  let first = 0;
  for (const { length } of texts) {
    const own = relativePositionBuckets(length, config.relative_attention_num_buckets, config.relative_attention_max_distance);
    for (let query = 0; query < length; query++) {
      for (let key = 0; key < length; key++) {
        const at = (first + query) * tokens + first + key;
        bias[at] = 0;
        buckets[at] = own[query * length + key] as number;
      }
    }
    first += length;
  }
  return {
    input_ids: intTensor([1, tokens], texts.flat()),
    mask_bias: floatTensor([1, 1, tokens, tokens], bias),
    position_buckets: intTensor([tokens, tokens], buckets),
  };
}

/** Picks rows of the stored table and only then widens them. */
function embedTokens(g: Graph, weights: Weights, config: T5Config, ids: Value): Value {
  const table = weights.at("shared").has("weight") ? weights.at("shared") : weights.at("encoder", "embed_tokens");
  const stored = table.tensor("weight", [config.vocab_size, config.d_model]);
  checkFloat(stored);
  return conversions(stored.dtype, g.dtype).reduce((rows, dtype) => cast(g, rows, dtype), gather(g, g.weight(stored), ids));
}

/** [batch, heads, tokens, tokens]: the position's bias plus the mask's. */
function attentionBias(g: Graph, weights: Weights, config: T5Config, buckets: Value, maskBias: Value): Value {
  const table = weights.at("layer", 0, "SelfAttention", "relative_attention_bias");
  const stored = table.tensor("weight", [config.relative_attention_num_buckets, config.num_heads]);
  checkFloat(stored);
  const bias = conversions(stored.dtype, g.dtype).reduce((rows, dtype) => cast(g, rows, dtype), gather(g, g.weight(stored), buckets));
  const perHead = transpose(g, bias, [2, 0, 1]);
  return add(g, reshape(g, perHead, [1, ...perHead.shape]), maskBias);
}

function block(g: Graph, weights: Weights, config: T5Config, x: Value, bias: Value): Value {
  const first = weights.at("layer", 0);
  const attended = add(g, x, selfAttention(g, first.at("SelfAttention"), config, norm(g, first, config, x), bias));
  const second = weights.at("layer", 1);
  return add(g, attended, feedForward(g, second.at("DenseReluDense"), config, norm(g, second, config, attended)));
}

function norm(g: Graph, layer: Weights, config: T5Config, x: Value): Value {
  return rmsNorm(g, layer.at("layer_norm"), x, config.layer_norm_epsilon);
}

function selfAttention(g: Graph, weights: Weights, config: T5Config, x: Value, bias: Value): Value {
  const inner = config.num_heads * config.d_kv;
  const project = (name: string) => linear(g, weights.at(name), x, { out: inner, bias: false });
  const mixed = multiHeadAttention(g, project("q"), project("k"), project("v"), { heads: config.num_heads, scale: 1, bias });
  return linear(g, weights.at("o"), mixed, { out: config.d_model, bias: false });
}

/**
 * `wo` keeps its stored precision: in float16 its products overflow, so transformers holds it in float32. Its inputs, themselves products, have a
 * few values far beyond the rest, so it is faithful too.
 */
function feedForward(g: Graph, weights: Weights, config: T5Config, x: Value): Value {
  const widen = (name: string) => linear(g, weights.at(name), x, { out: config.d_ff, bias: false });
  const inner =
    config.feed_forward_proj === "gated-gelu" ? multiply(g, gelu(g, widen("wi_0"), "tanh"), widen("wi_1")) : relu(g, widen("wi"));
  return linear(g, weights.at("wo"), inner, { out: config.d_model, bias: false, keepPrecision: g.dtype === "float16", faithful: true });
}
