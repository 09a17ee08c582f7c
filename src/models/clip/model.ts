/**
 * CLIP's text encoders: token ids in; a hidden state of every token and one vector of the whole text out.
 *
 * A token sees itself and what comes before it, so the end of the text (eos) has seen all of it: its row is the pooled vector. Pipelines
 * give CLIP no padding mask, and there is none here: padding follows the eos, where no row that counts can see it.
 * Source: transformers models/clip/modeling_clip.py@5.23 CLIPTextModel, CLIPTextModelWithProjection.
 */
import type { Weights } from "../../checkpoint/weights.ts";
import { UsageError } from "../../errors.ts";
import type { Graph, Value } from "../../graph/graph.ts";
import { add, cast, gather, gelu, multiHeadAttention, quickGelu, reshape, slice } from "../../graph/operators.ts";
import type { ModelGraph, State } from "../../graph/segment.ts";
import { linear } from "../../nn/linear.ts";
import { layerNorm } from "../../nn/norm.ts";
import { checkFloat, conversions, weightValue } from "../../nn/weight.ts";
import type { ComputeDType } from "../../tensor/dtype.ts";
import { floatTensor, intTensor, type Tensor } from "../../tensor/tensor.ts";
import type { ClipTextConfig } from "./config.ts";

/** Added to the scores of tokens that come later: the lowest finite float32, as transformers does. */
const MASKED = -3.4028234663852886e38;

/** Configs made before transformers 4.31 have this id, which no tokenizer gives; it stands for the highest id of the vocabulary. */
const LEGACY_EOS = 2;

/** Size of one call, and what is wanted of it. */
export interface ClipTextSize {
  batch: number;
  tokens: number;
  /**
   * Which of transformers' `hidden_states` is wanted, counted as Python counts: 0 is the embedding, -1 the last layer's output before the
   * final norm, -2 what Stable Diffusion 3 takes, -(clipSkip + 2) in general. Without it: `last_hidden_state`, after the final norm.
   */
  hiddenState?: number | undefined;
}

/**
 * CLIPTextModelWithProjection for one size.
 *
 * Inputs: see clipTextInputs. Outputs: `hidden_state` [batch, tokens, hidden_size], `text_embeds` [batch, projection_dim].
 */
export function clipTextModelWithProjection(weights: Weights, config: ClipTextConfig, dtype: ComputeDType, size: ClipTextSize): ModelGraph {
  return encoder(weights.at("text_model"), config, dtype, size, {
    name: "text_projection",
    build: (g, pooled) => ({
      text_embeds: linear(g, weights.at("text_projection"), pooled, { out: config.projection_dim, bias: false }),
    }),
    output: "text_embeds",
  });
}

/**
 * CLIPTextModel for one size: the same without the projection. transformers 5.6 dropped the prefix "text_model." from its files; both are read.
 *
 * Inputs: see clipTextInputs. Outputs: `hidden_state` [batch, tokens, hidden_size], `pooler_output` [batch, hidden_size].
 */
export function clipTextModel(weights: Weights, config: ClipTextConfig, dtype: ComputeDType, size: ClipTextSize): ModelGraph {
  const isFlat = weights.at("embeddings", "token_embedding").has("weight");
  return encoder(isFlat ? weights : weights.at("text_model"), config, dtype, size, {
    name: "final_layer_norm",
    build: (_, pooled) => ({ pooler_output: pooled }),
    output: "pooler_output",
  });
}

/**
 * The inputs of one call.
 *
 * Shapes: ids are batch lists of `tokens` numbers.
 */
export function clipTextInputs(config: ClipTextConfig, ids: readonly (readonly number[])[]): Record<string, Tensor> {
  const batch = ids.length;
  const tokens = ids[0]?.length ?? 0;
  const mask = Float32Array.from({ length: tokens * tokens }, (_, i) => (i % tokens > Math.floor(i / tokens) ? MASKED : 0));
  return {
    input_ids: intTensor([batch, tokens], ids.flat()),
    causal_mask: floatTensor([1, 1, tokens, tokens], mask),
    eos_rows: intTensor(
      [batch],
      ids.map((row, i) => i * tokens + eosPosition(row, config.eos_token_id)),
    ),
  };
}

/** The first eos; the first token where there is none, as argmax finds it among zeros. */
function eosPosition(ids: readonly number[], eosTokenId: number): number {
  if (eosTokenId !== LEGACY_EOS) return Math.max(ids.indexOf(eosTokenId), 0);
  return ids.indexOf(ids.reduce((highest, id) => Math.max(highest, id), 0));
}

/** What follows the final norm: the last segment's name, and what it makes of the pooled vector [batch, hidden_size]. */
interface Head {
  readonly name: string;
  readonly output: string;
  build(g: Graph, pooled: Value): State;
}

function encoder(weights: Weights, config: ClipTextConfig, dtype: ComputeDType, size: ClipTextSize, head: Head): ModelGraph {
  const { batch, tokens } = size;
  if (tokens > config.max_position_embeddings) {
    throw new UsageError(`a CLIP text encoder takes at most ${config.max_position_embeddings} tokens, got ${tokens}`);
  }
  const wanted = hiddenStateIndex(config, size.hiddenState);
  const withWanted = (index: number, hidden: Value): State => (index === wanted ? { hidden, hidden_state: hidden } : { hidden });
  return {
    dtype,
    inputs: {
      input_ids: { shape: [batch, tokens], dtype: "int64" },
      causal_mask: { shape: [1, 1, tokens, tokens], dtype: "float32" },
      eos_rows: { shape: [batch], dtype: "int64" },
    },
    segments: [
      { name: "embeddings", build: (g, { input_ids }) => withWanted(0, embed(g, weights.at("embeddings"), config, input_ids as Value)) },
      ...Array.from({ length: config.num_hidden_layers }, (_, i) => ({
        name: `encoder.layers.${i}`,
        build: (g: Graph, { hidden, causal_mask }: State) =>
          withWanted(i + 1, encoderLayer(g, weights.at("encoder", "layers", i), config, hidden as Value, causal_mask as Value)),
      })),
      {
        name: head.name,
        build: (g, { hidden, eos_rows }) => {
          const last = layerNorm(g, weights.at("final_layer_norm"), hidden as Value, config.layer_norm_eps);
          const pooled = gather(g, reshape(g, last, [batch * tokens, config.hidden_size]), eos_rows as Value);
          return { ...head.build(g, pooled), ...(wanted === undefined ? { hidden_state: last } : {}) };
        },
      },
    ],
    outputs: ["hidden_state", head.output],
  };
}

function hiddenStateIndex(config: ClipTextConfig, hiddenState: number | undefined): number | undefined {
  if (hiddenState === undefined) return undefined;
  const count = config.num_hidden_layers + 1;
  const index = hiddenState < 0 ? hiddenState + count : hiddenState;
  if (Number.isInteger(index) && index >= 0 && index < count) return index;
  throw new UsageError(`a CLIP text encoder of ${count - 1} layers has the hidden states ${-count} to ${count - 1}, got ${hiddenState}`);
}

/** Picks rows of the stored tables and only then widens them. */
function embed(g: Graph, weights: Weights, config: ClipTextConfig, ids: Value): Value {
  const { vocab_size, hidden_size, max_position_embeddings } = config;
  const stored = weights.at("token_embedding").tensor("weight", [vocab_size, hidden_size]);
  checkFloat(stored);
  const rows = gather(g, g.weight(stored), ids);
  const tokens = conversions(stored.dtype, g.dtype).reduce((value, dtype) => cast(g, value, dtype), rows);
  const table = weights.at("position_embedding").tensor("weight", [max_position_embeddings, hidden_size]);
  return add(g, tokens, slice(g, weightValue(g, table, { after: ids }), 0, 0, ids.shape[1] as number));
}

function encoderLayer(g: Graph, weights: Weights, config: ClipTextConfig, x: Value, mask: Value): Value {
  const norm = (name: string, value: Value) => layerNorm(g, weights.at(name), value, config.layer_norm_eps);
  const attended = add(g, x, selfAttention(g, weights.at("self_attn"), config, norm("layer_norm1", x), mask));
  return add(g, attended, mlp(g, weights.at("mlp"), config, norm("layer_norm2", attended)));
}

function selfAttention(g: Graph, weights: Weights, config: ClipTextConfig, x: Value, mask: Value): Value {
  const { hidden_size: out, num_attention_heads: heads } = config;
  const project = (name: string) => linear(g, weights.at(name), x, { out });
  const scale = 1 / Math.sqrt(out / heads);
  const mixed = multiHeadAttention(g, project("q_proj"), project("k_proj"), project("v_proj"), { heads, scale, bias: mask });
  return linear(g, weights.at("out_proj"), mixed, { out });
}

function mlp(g: Graph, weights: Weights, config: ClipTextConfig, x: Value): Value {
  const wide = linear(g, weights.at("fc1"), x, { out: config.intermediate_size });
  const active = config.hidden_act === "gelu" ? gelu(g, wide, "none") : quickGelu(g, wide);
  return linear(g, weights.at("fc2"), active, { out: config.hidden_size, oneSided: true });
}
