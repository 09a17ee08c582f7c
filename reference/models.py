"""Writes test/fixtures/models/: tiny T5, UMT5, CLIP, PixArt, AuraFlow and AutoencoderKL models of the real classes, with inputs and outputs.

Each folder is a component in diffusers' / transformers' layout (config.json + safetensors) plus io.safetensors + io.json. Weights are
random but not degenerate (see fixtures.randomize). `dtype` of a case is the dtype that the weights are rounded to when they are read;
everything is then computed in float32.

usage: python reference/models.py [NAME ...]        all, or the folders named
"""

import shutil
import sys

import torch
from diffusers import AuraFlowTransformer2DModel, AutoencoderKL, PixArtTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from fixtures import DTYPES, FIXTURES, be_quiet, folder_size, generator, randomize, record, rounded, run_case, write_fixture

MODELS = FIXTURES / "models"


def save(model, name, store, **options):
    """Saves a model in a dtype in an empty folder and returns the folder."""
    folder = MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    model.to(DTYPES[store]).save_pretrained(folder, **options)
    return folder


# --- T5 and UMT5 ---------------------------------------------------------------------------------------------------------------------------


def t5_case(model, name, ids, mask, hidden_states, **about):
    """One call of the encoder. Outputs: last_hidden_state; on request hidden_0 (embeddings) ... hidden_n (after the last block)."""

    def call(module, _cast):
        # transformers gives the states before each block and, as the last, the result after the final norm; the last block's own
        # output is caught by a hook.
        found, stop = record(module, {"block": module.encoder.block[-1]})
        result = module(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        stop()
        outputs = {"last_hidden_state": result.last_hidden_state}
        if hidden_states:
            states = [*result.hidden_states[:-1], found["block"]]
            outputs |= {f"hidden_{index}": state for index, state in enumerate(states)}
        return outputs

    inputs = {"input_ids": ids} | ({} if mask is None else {"attention_mask": mask})
    return run_case(model, name, inputs, call, **about)


def token_ids(vocab, lengths, width, seed):
    """Draws token ids, ended by </s> (1) and padded with 0; returns ids and mask."""
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, : length - 1] = torch.randint(3, vocab, (length - 1,), generator=generator(seed + row))
        ids[row, length - 1] = 1
    mask = (torch.arange(width)[None] < torch.tensor(lengths)[:, None]).long()
    return ids, mask


def t5(name, seed, store, weights, dtypes=("float32",), classes=(T5EncoderModel, T5Config), **config):
    """Writes one folder of T5 or a class like it; cases: short with padding, long (over 128 tokens, for the far buckets), without a mask."""
    config = {
        "vocab_size": 96,
        "d_model": 64,
        "d_kv": 24,
        "d_ff": 160,
        "num_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "dropout_rate": 0.1,
        **config,
    }
    cls, config_class = classes
    model = randomize(cls(config_class(**config)), seed, DTYPES[weights])
    folder = save(model, name, store)
    vocab = config["vocab_size"]
    cases = []
    for dtype in dtypes:
        model = rounded(cls, folder, DTYPES[dtype])
        wo = cls.from_pretrained(folder, torch_dtype=DTYPES[dtype]).encoder.block[0].layer[1].DenseReluDense.wo.weight.dtype
        expected = torch.float32 if dtype == "float16" else DTYPES[dtype]
        assert wo == expected, f"{name}: wo is {wo} when loaded as {dtype}"
        prefix = "" if len(dtypes) == 1 else f"{dtype}-"
        about = {"dtype": dtype, "feedForwardOutputDtype": str(wo).removeprefix("torch.")}
        ids, mask = token_ids(vocab, [11, 4], 12, seed + 1)
        cases.append(t5_case(model, f"{prefix}short", ids, mask, True, **about))
        if dtype == dtypes[0]:
            ids, mask = token_ids(vocab, [140], 142, seed + 3)
            cases.append(t5_case(model, f"{prefix}long", ids, mask, False, **about))
            ids, _ = token_ids(vocab, [9], 9, seed + 5)
            cases.append(t5_case(model, f"{prefix}no-mask", ids, None, False, **about))
            if cls is UMT5EncoderModel:
                # AuraFlow's tokenizer need not add </s>: then nothing but padding is left of an empty prompt.
                ids, mask = token_ids(vocab, [5, 1], 6, seed + 6)
                mask[1] = 0
                cases.append(t5_case(model, f"{prefix}empty", ids, mask, False, **about))
    write_fixture(folder, "io", script="models.py", seed=seed, cases=cases, className=cls.__name__, stored=store)


# --- CLIP -------------------------------------------------------------------------------------------------------------------------


def clip_case(model, name, ids, hidden_states, **about):
    """One call of a text encoder. Outputs: last_hidden_state, text_embeds or pooler_output; on request every one of hidden_states."""

    def call(module, _cast):
        result = module(input_ids=ids, output_hidden_states=True)
        pooled = "text_embeds" if hasattr(module, "text_projection") else "pooler_output"
        outputs = {"last_hidden_state": result.last_hidden_state, pooled: result[pooled]}
        return outputs | ({f"hidden_{index}": state for index, state in enumerate(result.hidden_states)} if hidden_states else {})

    return run_case(model, name, {"input_ids": ids}, call, **about)


def clip_ids(vocab, lengths, width, pad, seed):
    """Draws token ids between the two last ones of the vocabulary, <|startoftext|> and <|endoftext|>; a length of `width` + 1 has no end."""
    rows = torch.randint(1, vocab - 2, (len(lengths), width), generator=generator(seed))
    for row, length in zip(rows, lengths):
        row[0] = vocab - 2
        row[length - 1 : length] = vocab - 1
        row[length:] = pad
    return rows


def clip(name, seed, store, weights, dtypes=("float32",), cls=CLIPTextModelWithProjection, **config):
    """Writes one CLIP folder; cases: short with padding and one without an end, full length."""
    vocab = 96
    config = {
        "vocab_size": vocab,
        "hidden_size": 32,
        "intermediate_size": 56,
        "projection_dim": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "bos_token_id": vocab - 2,
        "eos_token_id": vocab - 1,
        **config,
    }
    model = randomize(cls(CLIPTextConfig(**config)), seed, DTYPES[weights])
    folder = save(model, name, store)
    # CLIP-L is padded with its end, OpenCLIP's bigG with "!", which is 0.
    pad = 0 if config.get("hidden_act") == "gelu" else vocab - 1
    cases = []
    for dtype in dtypes:
        model = rounded(cls, folder, DTYPES[dtype])
        prefix = "" if len(dtypes) == 1 else f"{dtype}-"
        ids = clip_ids(vocab, [9, 2, 13], 12, pad, seed + 1)
        cases.append(clip_case(model, f"{prefix}short", ids, True, dtype=dtype))
        if dtype == dtypes[0]:
            cases.append(clip_case(model, f"{prefix}full", clip_ids(vocab, [77], 77, pad, seed + 2), False, dtype=dtype))
    write_fixture(folder, "io", script="models.py", seed=seed, cases=cases, className=cls.__name__, stored=store)


# --- PixArt -----------------------------------------------------------------------------------------------------------------------


def pixart_inputs(config, seed, batch, height, width, tokens, lengths):
    """Draws latents, timesteps far apart, caption embeddings and their mask (and sizes, for PixArt-α)."""
    draw = generator(seed)
    inputs = {
        "hidden_states": torch.randn(batch, config.in_channels, height, width, generator=draw),
        "timestep": torch.tensor([999, 13, 500][:batch]),
        "encoder_hidden_states": torch.randn(batch, tokens, config.caption_channels, generator=draw),
        "encoder_attention_mask": (torch.arange(tokens)[None] < torch.tensor(lengths)[:, None]).long(),
    }
    if config.use_additional_conditions:
        # The pipeline's sizes are [height, width] in pixels and height / width.
        inputs["resolution"] = torch.tensor([[height * 8.0, width * 8.0]]).repeat(batch, 1)
        inputs["aspect_ratio"] = torch.tensor([[height / width]]).repeat(batch, 1)
    return inputs


def pixart_case(model, name, inputs, intermediates, **about):
    """One call of the transformer. Intermediates: what each stage hands on, by the stage's module name."""

    def call(module, cast):
        watched = {
            "pos_embed": "pos_embed",
            "adaln_single": "adaln_single",
            "caption_projection": "caption_projection",
            "norm_out": "norm_out",
            "proj_out": "proj_out",
        }
        watched |= {f"block_{index}": f"transformer_blocks.{index}" for index in range(len(module.transformer_blocks))}
        found, stop = record(module, watched if intermediates else {})
        # "before proj_out": the modulated states that go into the last layer.
        module_input = module.proj_out.register_forward_hook(lambda _m, args, _o: found.update({"modulated": args[0]}))
        sizes = None
        if module.config.use_additional_conditions:
            sizes = {"resolution": cast(inputs["resolution"]), "aspect_ratio": cast(inputs["aspect_ratio"])}
        sample = module(
            cast(inputs["hidden_states"]),
            encoder_hidden_states=cast(inputs["encoder_hidden_states"]),
            timestep=inputs["timestep"],
            encoder_attention_mask=inputs["encoder_attention_mask"],
            added_cond_kwargs=sizes or {"resolution": None, "aspect_ratio": None},
        ).sample
        stop()
        module_input.remove()
        if not intermediates:
            found.clear()
        # adaln_single.0 is the modulation of all blocks [batch, 6 * width], .1 the embedded timestep [batch, width].
        return {"sample": sample, **found}

    return run_case(model, name, inputs, call, **about)


def pixart(name, seed, store, weights, dtypes=("float32",), shards=None, **config):
    """Writes one PixArt folder; cases: non-square with every intermediate, the trained size, a larger size."""
    config = {
        "num_layers": 2,
        "sample_size": 16,
        "in_channels": 4,
        "out_channels": 8,
        "use_additional_conditions": False,
        **config,
    }
    config["cross_attention_dim"] = config["num_attention_heads"] * config["attention_head_dim"]
    model = randomize(PixArtTransformer2DModel(**config), seed, DTYPES[weights])
    folder = save(model, name, store, **({} if shards is None else {"max_shard_size": shards}))
    cases = []
    for dtype in dtypes:
        model = rounded(PixArtTransformer2DModel, folder, DTYPES[dtype])
        prefix = "" if len(dtypes) == 1 else f"{dtype}-"
        inputs = pixart_inputs(model.config, seed + 1, 2, 8, 12, 10, [7, 3])
        cases.append(pixart_case(model, f"{prefix}non-square", inputs, len(dtypes) == 1, dtype=dtype))
        if dtype == dtypes[0]:
            inputs = pixart_inputs(model.config, seed + 2, 2, 16, 16, 10, [10, 1])
            cases.append(pixart_case(model, f"{prefix}trained-size", inputs, False, dtype=dtype))
            inputs = pixart_inputs(model.config, seed + 3, 1, 22, 18, 5, [5])
            cases.append(pixart_case(model, f"{prefix}larger", inputs, False, dtype=dtype))
    write_fixture(folder, "io", script="models.py", seed=seed, cases=cases, className="PixArtTransformer2DModel", stored=store)


# --- AuraFlow ---------------------------------------------------------------------------------------------------------------------


def auraflow_inputs(config, seed, batch, height, width, tokens):
    """Draws latents, timesteps from 0 to 1 far apart, and text embeddings."""
    draw = generator(seed)
    return {
        "hidden_states": torch.randn(batch, config.in_channels, height, width, generator=draw),
        "timestep": torch.tensor([0.9731, 0.0137, 0.5][:batch]),
        "encoder_hidden_states": torch.randn(batch, tokens, config.joint_attention_dim, generator=draw),
    }


def auraflow_case(model, name, inputs, intermediates, **about):
    """One call of the transformer. Intermediates: what each stage hands on; a joint block's .0 is the text, its .1 the picture."""

    def call(module, cast):
        watched = {"pos_embed": "pos_embed", "time_step_proj": "time_step_proj", "norm_out": "norm_out"}
        watched |= {f"joint_{index}": f"joint_transformer_blocks.{index}" for index in range(len(module.joint_transformer_blocks))}
        watched |= {f"single_{index}": f"single_transformer_blocks.{index}" for index in range(len(module.single_transformer_blocks))}
        found, stop = record(module, watched if intermediates else {})
        sample = module(
            cast(inputs["hidden_states"]),
            encoder_hidden_states=cast(inputs["encoder_hidden_states"]),
            timestep=cast(inputs["timestep"]),
        ).sample
        stop()
        return {"sample": sample, **found}

    return run_case(model, name, inputs, call, **about)


def auraflow(name, seed, store, weights, dtypes=("float32",), **config):
    """Writes one AuraFlow folder; cases: non-square with every intermediate, odd numbers of patches, all positions that there are."""
    config = {"sample_size": 16, "in_channels": 4, "out_channels": 4, **config}
    config["caption_projection_dim"] = config["num_attention_heads"] * config["attention_head_dim"]
    model = randomize(AuraFlowTransformer2DModel(**config), seed, DTYPES[weights])
    folder = save(model, name, store)
    side = 2 * int(model.config.pos_embed_max_size**0.5)
    cases = []
    for dtype in dtypes:
        model = rounded(AuraFlowTransformer2DModel, folder, DTYPES[dtype])
        prefix = "" if len(dtypes) == 1 else f"{dtype}-"
        inputs = auraflow_inputs(model.config, seed + 1, 2, 8, 12, 7)
        cases.append(auraflow_case(model, f"{prefix}non-square", inputs, len(dtypes) == 1, dtype=dtype))
        if dtype == dtypes[0]:
            inputs = auraflow_inputs(model.config, seed + 2, 1, 10, 6, 5)
            cases.append(auraflow_case(model, f"{prefix}odd", inputs, False, dtype=dtype))
            inputs = auraflow_inputs(model.config, seed + 3, 2, side, side, 3)
            cases.append(auraflow_case(model, f"{prefix}every-position", inputs, False, dtype=dtype))
    write_fixture(folder, "io", script="models.py", seed=seed, cases=cases, className="AuraFlowTransformer2DModel", stored=store)


# --- AutoencoderKL ----------------------------------------------------------------------------------------------------------------


def decode_case(model, name, latents, intermediates, **about):
    """One decode of latents as the VAE takes them (already un-scaled)."""

    def call(module, cast):
        watched = {"conv_in": "decoder.conv_in", "mid_block": "decoder.mid_block", "conv_norm_out": "decoder.conv_norm_out"}
        watched |= {f"up_block_{index}": f"decoder.up_blocks.{index}" for index in range(len(module.decoder.up_blocks))}
        if module.post_quant_conv is not None:
            watched["post_quant_conv"] = "post_quant_conv"
        found, stop = record(module, watched if intermediates else {})
        sample = module.decode(cast(latents)).sample
        stop()
        return {"sample": sample, **found}

    return run_case(model, name, {"latents": latents}, call, method="decode", **about)


def encode_case(model, name, picture, intermediates, **about):
    """One encode of a picture in [-1, 1]: mean and log variance (clamped) of the latents, and their mode."""

    def call(module, cast):
        watched = {"conv_in": "encoder.conv_in", "mid_block": "encoder.mid_block", "conv_norm_out": "encoder.conv_norm_out"}
        watched |= {f"down_block_{index}": f"encoder.down_blocks.{index}" for index in range(len(module.encoder.down_blocks))}
        found, stop = record(module, watched if intermediates else {})
        latents = module.encode(cast(picture)).latent_dist
        stop()
        return {"mean": latents.mean, "logvar": latents.logvar, "mode": latents.mode(), **found}

    return run_case(model, name, {"picture": picture}, call, method="encode", **about)


def vae(name, seed, store, weights, dtypes=("float32",), **config):
    """Writes one VAE folder; cases: decode and encode, non-square with intermediates, and square."""
    levels = len(config["block_out_channels"])
    config = {
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "sample_size": 64,
        **config,
    }
    model = randomize(AutoencoderKL(**config), seed, DTYPES[weights])
    folder = save(model, name, store)
    factor = 2 ** (levels - 1)
    cases = []
    for dtype in dtypes:
        model = rounded(AutoencoderKL, folder, DTYPES[dtype])
        prefix = "" if len(dtypes) == 1 else f"{dtype}-"
        channels = model.config.latent_channels
        latents = torch.randn(1, channels, 3, 4, generator=generator(seed + 1))
        cases.append(decode_case(model, f"{prefix}decode-non-square", latents, len(dtypes) == 1, dtype=dtype))
        if dtype != dtypes[0]:
            continue
        latents = torch.randn(2, channels, 4, 4, generator=generator(seed + 2))
        cases.append(decode_case(model, f"{prefix}decode-square", latents, False, dtype=dtype))
        picture = torch.rand(1, 3, 3 * factor, 4 * factor, generator=generator(seed + 3)) * 2 - 1
        cases.append(encode_case(model, f"{prefix}encode-non-square", picture, len(dtypes) == 1, dtype=dtype))
        picture = torch.rand(2, 3, 4 * factor, 4 * factor, generator=generator(seed + 4)) * 2 - 1
        cases.append(encode_case(model, f"{prefix}encode-square", picture, False, dtype=dtype))
    write_fixture(folder, "io", script="models.py", seed=seed, cases=cases, className="AutoencoderKL", stored=store)


UMT5 = (UMT5EncoderModel, UMT5Config)
EVERY_DTYPE = ("float32", "float16", "bfloat16")
# Weights of "float32" use the whole mantissa, so that rounding at load is seen; the others are drawn as their files store them.
TABLE = {
    "t5": lambda name: t5(name, 100, "float16", "float16", d_model=160, d_kv=32, num_heads=2, d_ff=128),
    "t5-relu": lambda name: t5(
        name, 110, "float16", "float16", feed_forward_proj="relu", relative_attention_num_buckets=16, relative_attention_max_distance=40
    ),
    "t5-rounding": lambda name: t5(name, 120, "float32", "float32", EVERY_DTYPE, d_model=48, d_kv=20, d_ff=96, num_heads=3),
    "t5-float16": lambda name: t5(name, 130, "float16", "float16", EVERY_DTYPE, d_model=48, d_kv=20, d_ff=96, num_heads=3),
    "t5-bfloat16": lambda name: t5(name, 140, "bfloat16", "bfloat16", EVERY_DTYPE, d_model=48, d_kv=20, d_ff=96, num_heads=3),
    "umt5": lambda name: t5(name, 150, "float16", "float16", classes=UMT5, d_model=136, d_kv=16, num_heads=2, d_ff=64),
    "umt5-rounding": lambda name: t5(name, 160, "float32", "float32", EVERY_DTYPE, classes=UMT5, d_model=32, d_kv=12, d_ff=48, num_heads=3),
    "clip": lambda name: clip(
        name, 150, "float16", "float16", hidden_size=160, intermediate_size=192, projection_dim=136, num_hidden_layers=2
    ),
    "clip-gelu": lambda name: clip(name, 160, "float16", "float16", EVERY_DTYPE, hidden_act="gelu", eos_token_id=2),
    "clip-rounding": lambda name: clip(name, 170, "float32", "float32", EVERY_DTYPE),
    "clip-bfloat16": lambda name: clip(name, 190, "bfloat16", "bfloat16", EVERY_DTYPE, eos_token_id=2, layer_norm_eps=1e-4),
    "clip-text-model": lambda name: clip(name, 195, "float16", "float16", cls=CLIPTextModel, num_hidden_layers=1),
    "pixart-sigma": lambda name: pixart(
        name, 200, "float16", "float16", num_attention_heads=2, attention_head_dim=72, caption_channels=96, interpolation_scale=2
    ),
    "pixart-64": lambda name: pixart(
        name, 210, "float16", "float16", num_layers=1, num_attention_heads=2, attention_head_dim=64, caption_channels=40, interpolation_scale=1
    ),
    "pixart-alpha": lambda name: pixart(
        name,
        220,
        "float16",
        "float16",
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=24,
        caption_channels=40,
        interpolation_scale=1,
        use_additional_conditions=True,
    ),
    "pixart-rounding": lambda name: pixart(
        name, 230, "float32", "float32", EVERY_DTYPE, num_layers=1, num_attention_heads=2, attention_head_dim=16, caption_channels=24
    ),
    "pixart-bfloat16": lambda name: pixart(
        name, 240, "bfloat16", "bfloat16", EVERY_DTYPE, num_layers=1, num_attention_heads=2, attention_head_dim=16, caption_channels=24
    ),
    "pixart-sharded": lambda name: pixart(
        name,
        250,
        "float16",
        "float16",
        shards="60KB",
        num_attention_heads=2,
        attention_head_dim=16,
        caption_channels=24,
        out_channels=4,
    ),
    # A feed-forward is at least 256 wide, and the text 160: where Quanto groups weights. Blocks of over 128 would take megabytes.
    "auraflow": lambda name: auraflow(
        name,
        260,
        "float16",
        "float16",
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        num_attention_heads=4,
        attention_head_dim=8,
        joint_attention_dim=160,
        pos_embed_max_size=64,
    ),
    "auraflow-rounding": lambda name: auraflow(
        name,
        270,
        "float32",
        "float32",
        EVERY_DTYPE,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        joint_attention_dim=40,
        pos_embed_max_size=50,
    ),
    "auraflow-joint": lambda name: auraflow(
        name,
        280,
        "bfloat16",
        "bfloat16",
        ("float32", "float16"),
        num_mmdit_layers=1,
        num_single_dit_layers=0,
        num_attention_heads=2,
        attention_head_dim=8,
        joint_attention_dim=24,
        pos_embed_max_size=81,
        in_channels=6,
        out_channels=3,
    ),
    "vae": lambda name: vae(
        name, 300, "float16", "float16", block_out_channels=(8, 16, 24, 32), layers_per_block=1, norm_num_groups=4, latent_channels=4
    ),
    "vae-16": lambda name: vae(
        name,
        310,
        "float16",
        "float16",
        block_out_channels=(16, 24),
        layers_per_block=2,
        norm_num_groups=8,
        latent_channels=16,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ),
    "vae-no-attention": lambda name: vae(
        name,
        320,
        "float32",
        "float32",
        EVERY_DTYPE,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        mid_block_add_attention=False,
    ),
}


def main(names):
    be_quiet()
    for name in names or TABLE:
        TABLE[name](name)
        print(f"{name}: {folder_size(MODELS / name):,} bytes")
    print(f"models in all: {folder_size(MODELS):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
