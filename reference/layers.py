"""Writes test/fixtures/models/layers/: single layers of the real classes, for finding where a whole model goes wrong.

Each folder holds model.safetensors (the module's state dict, float16 values; absent where a layer has no weights), io.safetensors and
io.json, whose `options` are the arguments of the Python class.

usage: python reference/layers.py
"""

import shutil

import torch
from diffusers.models.attention import BasicTransformerBlock, FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.embeddings import (
    PatchEmbed,
    PixArtAlphaCombinedTimestepSizeEmbeddings,
    PixArtAlphaTextProjection,
    Timesteps,
)
from diffusers.models.normalization import AdaLayerNormSingle
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from safetensors.torch import save_file
from torch import nn
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention, T5LayerFF, T5LayerNorm, T5LayerSelfAttention

from fixtures import FIXTURES, be_quiet, folder_size, generator, randomize, record, run_case, tensors_of, write_fixture

LAYERS = FIXTURES / "models" / "layers"


def write(name, seed, model, cases, options):
    """Writes a layer's folder."""
    folder = LAYERS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    state = tensors_of({key: value.half() for key, value in model.state_dict().items()})
    if state:
        save_file(state, folder / "model.safetensors")
    write_fixture(folder, "io", script="layers.py", seed=seed, cases=cases, className=type(model).__name__, options=options)


def layer(name, seed, cls, options, inputs, forward=None, watched=None, about=None):
    """Writes a layer whose inputs are given as {case: {input: tensor}}; by default they are the keyword arguments of its forward."""
    model = randomize(cls(**options), seed)

    def call_with(group):
        def call(module, cast):
            found, stop = record(module, watched or {})
            arguments = {key: cast(value) for key, value in group.items()}
            output = forward(module, arguments) if forward else module(**arguments)
            stop()
            return {**found, **(output if isinstance(output, dict) else {"output": output})}

        return call

    cases = [run_case(model, case, group, call_with(group), **(about or {})) for case, group in inputs.items()]
    write(name, seed, model, cases, options)


def normal(seed, *shape):
    """Draws a float32 tensor."""
    return torch.randn(*shape, generator=generator(seed))


def mask_bias(lengths, tokens):
    """Returns PixArt's bias of a padding mask, [batch, 1, tokens]: 0 keeps, -10000 drops."""
    mask = (torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]).float()
    return ((1 - mask) * -10000.0)[:, None]


def transformer_layers():
    """Layers of PixArt's transformer."""
    options = {
        "dim": 48,
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "cross_attention_dim": 48,
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "norm_type": "ada_norm_single",
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "num_embeds_ada_norm": 1000,
    }
    inputs = {
        "hidden_states": normal(1, 2, 15, 48),
        "encoder_hidden_states": normal(2, 2, 7, 48),
        "encoder_attention_mask": mask_bias([7, 2], 7),
        "timestep": normal(3, 2, 6 * 48) * 0.5,
    }
    stages = {stage: stage for stage in ("norm1", "attn1", "attn2", "norm2", "ff")}
    layer("basic-transformer-block", 400, BasicTransformerBlock, options, {"masked": inputs}, watched=stages)

    options = {"query_dim": 72, "heads": 1, "dim_head": 72, "bias": True}
    layer("attention-self", 410, Attention, options, {"square": {"hidden_states": normal(4, 2, 24, 72)}})
    options = {"query_dim": 48, "cross_attention_dim": 80, "heads": 3, "dim_head": 16, "bias": True}
    hidden, caption = normal(5, 2, 10, 48), normal(6, 2, 9, 80)
    cases = {
        "masked": {"hidden_states": hidden, "encoder_hidden_states": caption, "attention_mask": mask_bias([9, 1], 9)},
        "no-mask": {"hidden_states": hidden, "encoder_hidden_states": caption},
    }
    layer("attention-cross", 420, Attention, options, cases)
    options = {"dim": 48, "activation_fn": "gelu-approximate"}
    # Far into both tails of the tanh GELU.
    layer("feed-forward", 430, FeedForward, options, {"wide": {"hidden_states": normal(7, 2, 6, 48) * 3}})
    layer("norm-out", 435, nn.LayerNorm, {"normalized_shape": 144, "eps": 1e-6, "elementwise_affine": False}, {
        "spread": {"input": normal(8, 2, 5, 144) * torch.tensor([1e-3, 1.0, 10.0, 300.0, 1.0])[:, None]}
    })  # fmt: skip


def embedding_layers():
    """Timestep, size, caption and position embeddings."""
    times = torch.tensor([0.0, 1.0, 13.0, 500.5, 999.0, 1024.0, 0.75])
    options = {"num_channels": 256, "flip_sin_to_cos": True, "downscale_freq_shift": 0}
    layer("timesteps", 440, Timesteps, options, {"floats": {"timesteps": times}, "integers": {"timesteps": torch.tensor([999, 951, 50, 1, 0])}})

    times, height, width = torch.tensor([999, 20]), 768.0, 1280.0
    sizes = {"resolution": torch.tensor([[height, width]] * 2), "aspect_ratio": torch.tensor([[height / width]] * 2)}

    def embed(module, values):
        dtype = next(module.parameters()).dtype
        return module(values["timestep"], values.get("resolution"), values.get("aspect_ratio"), batch_size=2, hidden_dtype=dtype)

    cls, options = PixArtAlphaCombinedTimestepSizeEmbeddings, {"embedding_dim": 48, "size_emb_dim": 16}
    layer("timestep-embedding", 450, cls, options, {"time": {"timestep": times}}, embed)
    options |= {"use_additional_conditions": True}
    layer("timestep-size-embedding", 460, cls, options, {"time-and-size": {"timestep": times, **sizes}}, embed)

    def modulate(module, values):
        modulation, embedded = module(values["timestep"], batch_size=2, hidden_dtype=next(module.parameters()).dtype)
        return {"modulation": modulation, "embedded_timestep": embedded}

    layer("ada-layer-norm-single", 465, AdaLayerNormSingle, {"embedding_dim": 48}, {"time": {"timestep": times}}, modulate)
    options = {"in_features": 80, "hidden_size": 48}
    layer("text-projection", 470, PixArtAlphaTextProjection, options, {"caption": {"caption": normal(9, 2, 7, 80) * 2}})


def position_embeddings():
    """PatchEmbed with its convolution at 0: what is left is the position table, at the trained size and others."""
    cases = []
    table = [  # sample_size, interpolation_scale, width of the embedding, latent height, latent width
        (16, 1, 48, 16, 16),
        (16, 1, 48, 8, 12),
        (16, 2, 48, 16, 16),
        (16, 2, 48, 22, 18),
        (16, 0.5, 24, 16, 20),
        (32, 1, 24, 32, 32),
        (64, 1, 8, 64, 64),
        (64, 1, 8, 40, 90),
        (128, 2, 8, 64, 64),
        (128, 2, 1152, 4, 6),
        (256, 4, 8, 20, 36),
        (30, 1, 24, 30, 30),
        (15, 1, 24, 15, 15),
    ]
    for sample_size, scale, dim, height, width in table:
        model = PatchEmbed(height=sample_size, width=sample_size, patch_size=2, in_channels=4, embed_dim=dim, interpolation_scale=scale)
        for parameter in model.parameters():
            parameter.zero_()
        output = model(torch.zeros(1, 4, height, width))
        about = {"sampleSize": sample_size, "interpolationScale": scale, "baseSize": model.base_size, "patchSize": 2}
        about |= {"embedDim": dim, "latentHeight": height, "latentWidth": width}
        cases.append({"name": f"s{sample_size}-i{scale}-d{dim}-{height}x{width}", **about, "outputs": {"pos_embed": output}})
    folder = LAYERS / "position-embedding"
    shutil.rmtree(folder, ignore_errors=True)
    write_fixture(folder, "io", script="layers.py", seed=0, cases=cases, className="PatchEmbed")

    options = {"height": 16, "width": 16, "patch_size": 2, "in_channels": 4, "embed_dim": 48, "interpolation_scale": 2}
    inputs = {"trained-size": {"latent": normal(10, 1, 4, 16, 16)}, "non-square": {"latent": normal(11, 2, 4, 6, 10)}}
    layer("patch-embed", 480, PatchEmbed, options, inputs)


def t5_layers():
    """Layers of the T5 encoder."""
    hidden = normal(12, 2, 9, 64) * torch.logspace(-4, 2, 9)[:, None]
    layer("t5-layer-norm", 500, T5LayerNorm, {"hidden_size": 64, "eps": 1e-6}, {"spread": {"hidden_states": hidden}})

    config = {"d_model": 64, "d_kv": 24, "d_ff": 96, "num_heads": 4, "num_layers": 1, "vocab_size": 8, "is_encoder_decoder": False}
    tokens = 9
    mask = (torch.arange(tokens)[None] < torch.tensor([tokens, 4])[:, None])[:, None, None]

    class SelfAttention(T5LayerSelfAttention):
        def __init__(self, **values):
            super().__init__(T5Config(**values), has_relative_attention_bias=True)
            self.config = T5Config(**values)

    class FeedForwardT5(T5LayerFF):
        def __init__(self, **values):
            super().__init__(T5Config(**values))

    SelfAttention.__name__, FeedForwardT5.__name__ = "T5LayerSelfAttention", "T5LayerFF"
    # Scores are masked by replacing them with the lowest float32, as in transformers' eager attention.
    inputs = {"masked": {"hidden_states": normal(13, 2, tokens, 64), "attention_mask": torch.where(mask, 0.0, torch.finfo(torch.float32).min)}}
    layer("t5-self-attention", 510, SelfAttention, config, inputs, lambda module, values: module(**values)[0])
    for seed, kind in ((520, "gated-gelu"), (525, "relu")):
        options = {**config, "feed_forward_proj": kind}
        layer(f"t5-feed-forward-{kind}", seed, FeedForwardT5, options, {"wide": {"hidden_states": normal(14, 2, 5, 64) * 2}})

    cases = []
    for buckets, distance in ((32, 128), (16, 40), (8, 20), (64, 512)):
        relative = torch.arange(-600, 601, dtype=torch.int32)
        ids = T5Attention._relative_position_bucket(relative, bidirectional=True, num_buckets=buckets, max_distance=distance)
        about = {"numBuckets": buckets, "maxDistance": distance}
        cases.append({"name": f"buckets-{buckets}-{distance}", **about, "inputs": {"relative_position": relative}, "outputs": {"bucket": ids.to(torch.int32)}})
    module = T5Attention(T5Config(**{**config, "num_heads": 3, "d_kv": 8}), has_relative_attention_bias=True)
    randomize(module, 530)
    for length in (1, 5, 70):
        bias = module.compute_bias(length, length)
        cases.append({"name": f"bias-{length}", "numBuckets": 32, "maxDistance": 128, "tokens": length, "outputs": {"bias": bias}})
    folder = LAYERS / "t5-relative-bias"
    write("t5-relative-bias", 530, module, cases, {"num_heads": 3})
    save_file({"relative_attention_bias.weight": module.relative_attention_bias.weight.half().contiguous()}, folder / "model.safetensors")


def vae_layers():
    """Layers of AutoencoderKL."""

    class NormAndSilu(nn.Sequential):
        def __init__(self, groups, channels):
            super().__init__(nn.GroupNorm(groups, channels, eps=1e-6), nn.SiLU())

        def forward(self, hidden_states):
            return super().forward(hidden_states)

    picture = {"non-square": {"hidden_states": normal(15, 2, 64, 5, 7) * 3 + 1}}
    layer("group-norm-silu", 600, NormAndSilu, {"groups": 32, "channels": 64}, picture)
    options = {"in_channels": 16, "out_channels": 16, "temb_channels": None, "groups": 4, "eps": 1e-6, "output_scale_factor": 1.0}

    def resnet(module, values):
        return module(values["input_tensor"], None)

    layer("resnet-block", 610, ResnetBlock2D, options, {"non-square": {"input_tensor": normal(16, 2, 16, 6, 9)}}, resnet)
    options = {**options, "out_channels": 24}
    layer("resnet-block-shortcut", 620, ResnetBlock2D, options, {"non-square": {"input_tensor": normal(17, 1, 16, 6, 9)}}, resnet)
    options = {"channels": 12, "use_conv": True}
    layer("upsample", 630, Upsample2D, options, {"non-square": {"hidden_states": normal(18, 2, 12, 5, 7)}})
    options = {"channels": 12, "use_conv": True, "padding": 0, "name": "op"}
    cases = {"even": {"hidden_states": normal(19, 2, 12, 8, 6)}, "odd": {"hidden_states": normal(20, 1, 12, 7, 9)}}
    layer("downsample", 640, Downsample2D, options, cases)
    options = {
        "query_dim": 32,
        "heads": 1,
        "dim_head": 32,
        "rescale_output_factor": 1.0,
        "eps": 1e-6,
        "norm_num_groups": 8,
        "residual_connection": True,
        "bias": True,
        "upcast_softmax": True,
        "_from_deprecated_attn_block": True,
    }
    layer("vae-attention", 650, Attention, options, {"non-square": {"hidden_states": normal(21, 2, 32, 4, 6)}})


def main():
    be_quiet()
    transformer_layers()
    embedding_layers()
    position_embeddings()
    t5_layers()
    vae_layers()
    print(f"layers: {len(list(LAYERS.iterdir()))} folders, {folder_size(LAYERS):,} bytes")


if __name__ == "__main__":
    main()
