"""Writes test/fixtures/models/sd3*/: tiny SD3Transformer2DModel models of the real class, with inputs and expected outputs.

Folders as models.py writes them, but one: sd3-wide, whose inner width (192) is above the 128 from which Quanto groups, holds no weights.
weights.json says how they are drawn (see `draw_weights`), so that a test can draw the same bits again.

usage: python reference/sd3.py [NAME ...]        all, or the folders named
"""

import hashlib
import math
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel

from fixtures import DTYPES, be_quiet, folder_size, generator, randomize, rounded, run_case, weight_rule, write_fixture, write_json
from models import EVERY_DTYPE, MODELS, save

CONFIG = {"sample_size": 16, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 2, "pos_embed_max_size": 12}


def inputs_of(config, seed, batch, height, width, tokens):
    """Draws latents, timesteps far apart (fractions too), text embeddings and pooled projections."""
    draw = generator(seed)
    return {
        "hidden_states": torch.randn(batch, config.in_channels, height, width, generator=draw),
        "timestep": torch.tensor([999.0, 13.7578125, 500.5][:batch]),
        "encoder_hidden_states": torch.randn(batch, tokens, config.joint_attention_dim, generator=draw),
        "pooled_projections": torch.randn(batch, config.pooled_projection_dim, generator=draw),
    }


def call_with(inputs, **options):
    """Returns the function that calls a model with these inputs, each widened by its second argument."""
    return lambda module, cast=lambda tensor: tensor: module(**{key: cast(value) for key, value in inputs.items()}, **options).sample


def watch(module):
    """Records what the embeddings and each block hand on: both sequences. Returns (dict that fills, function that stops)."""
    found, handles = {}, []

    def keep(label):
        def hook(_module, _inputs, output):
            context, hidden = output if isinstance(output, tuple) else (None, output)
            found.update({f"{label}.{key}": value for key, value in (("context", context), ("hidden", hidden)) if value is not None})

        return hook

    handles.append(module.pos_embed.register_forward_hook(keep("embed")))
    handles.append(module.context_embedder.register_forward_hook(lambda _m, _i, output: found.update({"embed.context": output})))
    for index, block in enumerate(module.transformer_blocks):
        handles.append(block.register_forward_hook(keep(f"transformer_blocks.{index}")))
    return found, lambda: [handle.remove() for handle in handles]


def case(model, name, inputs, intermediates, skip_layers=None, **about):
    """One call of the transformer; on request with what each segment hands on."""

    def call(module, cast):
        found, stop = watch(module)
        sample = call_with(inputs, skip_layers=skip_layers)(module, cast)
        stop()
        return {"sample": sample, **(found if intermediates else {})}

    return run_case(model, name, inputs, call, **about, **({} if skip_layers is None else {"skipLayers": skip_layers}))


def cases_of(folder, dtypes, seed, skip_layers):
    """Calls the stored model in each dtype: non-square with every intermediate, and in the first dtype other sizes and skipped layers."""
    cases = []
    for dtype in dtypes:
        narrow = SD3Transformer2DModel.from_pretrained(folder, torch_dtype=DTYPES[dtype])
        assert narrow.pos_embed.pos_embed.dtype == DTYPES[dtype], f"{folder.name}: the position embedding is not rounded"
        model = rounded(SD3Transformer2DModel, folder, DTYPES[dtype])
        prefix = "" if len(dtypes) == 1 else f"{dtype}-"
        inputs = inputs_of(model.config, seed + 1, 2, 8, 12, 7)
        cases.append(case(model, f"{prefix}non-square", inputs, len(dtypes) == 1, dtype=dtype))
        if dtype != dtypes[0]:
            continue
        limit = model.config.pos_embed_max_size * model.config.patch_size
        cases.append(case(model, f"{prefix}largest", inputs_of(model.config, seed + 2, 1, limit, 10, 3), False, dtype=dtype))
        if skip_layers is not None:
            cases.append(case(model, f"{prefix}skip-layers", inputs, False, skip_layers, dtype=dtype))
    return cases


def write(name, seed, store, dtypes=("float32",), skip_layers=None, **config):
    """Writes one folder. The position embedding is drawn too: a model that calculates it would be found out."""
    config = CONFIG | config
    config["caption_projection_dim"] = config["num_attention_heads"] * config["attention_head_dim"]
    model = randomize(SD3Transformer2DModel(**config), seed, DTYPES[store])
    embedding = model.pos_embed.pos_embed
    embedding.copy_(torch.randn(embedding.shape, generator=generator(seed + 9)).to(DTYPES[store]))
    folder = save(model, name, store)
    cases = cases_of(folder, dtypes, seed, skip_layers)
    write_fixture(folder, "io", script="sd3.py", seed=seed, cases=cases, className="SD3Transformer2DModel", stored=store)


# --- Drawn weights ----------------------------------------------------------------------------------------------------------------


def draw_weights(model, seed):
    """Draws every float32 tensor of the state dict, in the order of names, from one generator: mean + deviation * randn.

    Deviations are powers of two and means 0 or 1, so that each value is rounded once, on whatever machine. Returns {name: [shape, mean,
    deviation]} and the SHA-256 of all bytes.
    """
    draw, rules, digest = generator(seed), {}, hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        mean, factor, fan_in = weight_rule(name, tensor.shape) if name != "pos_embed.pos_embed" else (0, 1, 1)
        deviation = 2.0 ** round(math.log2(factor / math.sqrt(fan_in)))
        tensor.copy_(mean + deviation * torch.randn(tensor.shape, generator=draw))
        digest.update(tensor.numpy().tobytes())
        rules[name] = [list(tensor.shape), mean, deviation]
    return rules, digest.hexdigest()


WIDE = "sd3-wide"
WIDE_SEED = 440
WIDE_CONFIG = CONFIG | {
    "attention_head_dim": 64,
    "num_attention_heads": 3,
    "caption_projection_dim": 192,
    "joint_attention_dim": 160,
    "pooled_projection_dim": 256,
    "dual_attention_layers": [0],
    "qk_norm": "rms_norm",
}


def save_wide(folder):
    """Saves the wide model with its drawn weights in a folder; returns what `draw_weights` returns."""
    model = SD3Transformer2DModel(**WIDE_CONFIG)
    drawn = draw_weights(model, WIDE_SEED)
    model.save_pretrained(folder)
    return drawn


def wide(name):
    """Writes the folder of the wide model: config.json, weights.json, inputs and outputs."""
    folder = MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tempfile.TemporaryDirectory() as work:
        rules, digest = save_wide(work)
        shutil.copy(Path(work) / "config.json", folder)
        cases = []
        for dtype in EVERY_DTYPE:
            model = rounded(SD3Transformer2DModel, work, DTYPES[dtype])
            inputs = inputs_of(model.config, WIDE_SEED + 1, 2, 4, 6, 5)
            cases.append(case(model, dtype, inputs, dtype == "float32", dtype=dtype))
    write_json(folder / "weights.json", {"script": "reference/sd3.py", "seed": WIDE_SEED, "sha256": digest, "tensors": rules})
    write_fixture(folder, "io", script="sd3.py", seed=WIDE_SEED, cases=cases, className="SD3Transformer2DModel", stored="float32")


TABLE = {
    # Stable Diffusion 3 medium: neither norms of queries and keys nor dual attention.
    "sd3": lambda name: write(
        name, 400, "float16", num_attention_heads=2, attention_head_dim=24, joint_attention_dim=72, pooled_projection_dim=56, in_channels=16, out_channels=16
    ),
    # 3.5 medium: both; here the last layer is dual as well, as a config may say.
    "sd35-medium": lambda name: write(
        name,
        410,
        "float16",
        skip_layers=[1],
        num_layers=3,
        num_attention_heads=2,
        attention_head_dim=16,
        joint_attention_dim=256,
        pooled_projection_dim=40,
        dual_attention_layers=(0, 2),
        qk_norm="rms_norm",
    ),
    # 3.5 large: norms alone.
    "sd35-rounding": lambda name: write(
        name, 420, "float32", EVERY_DTYPE, num_attention_heads=2, attention_head_dim=12, joint_attention_dim=40, pooled_projection_dim=24, qk_norm="rms_norm"
    ),
    "sd35-bfloat16": lambda name: write(
        name,
        430,
        "bfloat16",
        EVERY_DTYPE,
        num_attention_heads=2,
        attention_head_dim=12,
        joint_attention_dim=40,
        pooled_projection_dim=24,
        patch_size=1,
        sample_size=8,
        pos_embed_max_size=24,
        out_channels=None,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    ),
    WIDE: wide,
}


def main(names):
    be_quiet()
    for name in names or TABLE:
        TABLE[name](name)
        print(f"{name}: {folder_size(MODELS / name):,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
