"""Writes test/fixtures/pipelines/alpha*: a whole PixArt-α pipeline with tiny random models, and what the real pipeline makes of it.

alpha/ holds what it has of its own (model_index.json and a transformer with size conditions, named as PixArt-α's repositories name it); the
other parts are those of tiny/ (see pipelines.py, which must have run). alpha.{json,safetensors} are the cases; some parts of one are quantized.

usage: python reference/pixart_alpha.py
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from diffusers import PixArtAlphaPipeline, PixArtTransformer2DModel

from fixtures import be_quiet, folder_size, randomize, write_fixture, write_json
from pipelines import FOLDER, TINY, case, near_denoiser
from quantized_models import pipeline_cases

SEED = 750
ALPHA = FOLDER / "alpha"


def write_alpha():
    """Writes the pipeline's own files."""
    shutil.rmtree(ALPHA, ignore_errors=True)
    transformer = PixArtTransformer2DModel(
        num_attention_heads=3,
        attention_head_dim=16,
        cross_attention_dim=48,
        caption_channels=32,
        num_layers=2,
        sample_size=128,
    )
    transformer = near_denoiser(randomize(transformer, SEED, torch.float32), 8)
    transformer.half().save_pretrained(ALPHA / "transformer")
    # PixArt-α was published before diffusers had a class of its own for it.
    config = json.loads((ALPHA / "transformer" / "config.json").read_text())
    del config["interpolation_scale"], config["use_additional_conditions"]
    write_json(ALPHA / "transformer" / "config.json", {**config, "_class_name": "Transformer2DModel"})
    index = json.loads((TINY / "model_index.json").read_text())
    write_json(ALPHA / "model_index.json", {**index, "_class_name": "PixArtAlphaPipeline", "transformer": ["diffusers", "Transformer2DModel"]})


def cases(folder):
    """All cases in float arithmetic."""
    fox = "A red fox, sitting in the snow"
    long_prompt = " ".join(f"a {subject} and" for subject in ("fox", "castle", "apple", "robot") * 12)
    plain = {"transformer": {"sample_size": 64}}
    return [
        case(folder, "prompt-20", seed=1, keep_embeddings=True, prompt=fox, num_inference_steps=20),
        case(folder, "negative-4", seed=2, size=(96, 48), prompt=fox, negative_prompt="blurry, dark", num_inference_steps=4, guidance_scale=7.0),
        case(folder, "no-guidance-20", seed=3, size=(32, 128), prompt="a castle", num_inference_steps=20, guidance_scale=1.0),
        case(folder, "two-images-4", seed=4, prompt="two robots", num_inference_steps=4, num_images_per_prompt=2),
        case(folder, "long-prompt-2", seed=5, size=(32, 32), prompt=long_prompt, num_inference_steps=2),
        case(folder, "float16-20", seed=6, dtype="float16", prompt=fox, num_inference_steps=20),
        case(folder, "bfloat16-20", seed=7, dtype="bfloat16", prompt=fox, num_inference_steps=20),
        # diffusers' α takes the predicted picture when there is only one step; its DPM-Solver does not give one.
        case(folder, "one-step", seed=8, config={"scheduler": {"_class_name": "EulerDiscreteScheduler"}}, prompt=fox, num_inference_steps=1),
        case(folder, "without-conditions-20", seed=9, config=plain, prompt=fox, num_inference_steps=20),
        case(folder, "conditions-refused-4", seed=10, config={"transformer": {"use_additional_conditions": False}}, prompt=fox, num_inference_steps=4),
        case(folder, "without-conditions-no-guidance-4", seed=11, config=plain, size=(48, 32), prompt="", num_inference_steps=4, guidance_scale=1.0),
        case(folder, "sample-size-256-2", seed=13, size=(32, 48), config={"transformer": {"sample_size": 256}}, prompt=fox, num_inference_steps=2),
        case(
            folder,
            "binning-4",
            seed=12,
            size=(96, 128),
            config={"transformer": {"sample_size": 32}},
            prompt=fox,
            num_inference_steps=4,
            use_resolution_binning=True,
        ),
    ]


# Name, dtype, qtype of the transformer, of the text encoder, modules of the transformer that are left out.
QUANTIZED = [
    ("qint8", "float32", "qint8", "qint8", None),
    ("qfloat8-float16", "float16", "qfloat8_e4m3fn", "qfloat8_e4m3fn", None),
    ("qint4-bfloat16", "bfloat16", "qint4", "qint4", None),
    ("qint2-without-proj_out", "float32", "qint2", None, "proj_out"),
]


def main():
    be_quiet()
    write_alpha()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "alpha"
        for source in (TINY, ALPHA):
            shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("transformer") if source is TINY else None)
        loaded = PixArtAlphaPipeline.from_pretrained(folder)
        assert type(loaded.transformer) is PixArtTransformer2DModel and loaded.transformer.use_additional_conditions
        made = [*cases(folder), *pipeline_cases(folder, QUANTIZED)]
    write_fixture(FOLDER, "alpha", script="pixart_alpha.py", seed=SEED, cases=made, className="PixArtAlphaPipeline", pipeline="alpha over tiny")
    for entry in made:
        final, picture = entry["outputs"]["final_latents"], entry["outputs"]["picture"].float()
        print(f"{entry['name']}: drift {entry['drift']:.2g}, picture {entry['driftPicture']}/255, latents rms {final.pow(2).mean().sqrt():.3g}, picture std {picture.std():.0f}")
    print(f"alpha: {folder_size(ALPHA) + sum(path.stat().st_size for path in FOLDER.glob('alpha.*')):,} bytes")


if __name__ == "__main__":
    main()
