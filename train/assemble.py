"""Puts the trained parts together as a diffusers folder: float16 safetensors, configs, tokenizer, scheduler, model card.

The card is train/card.md with the measured numbers of FOLDER/evaluation/evaluation.json put in place of {float32}, {qint8}, ...
usage: python train/assemble.py OUTPUT
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import PixArtSigmaPipeline, PixArtTransformer2DModel
from transformers import T5EncoderModel

import sample
from state import FOLDER, prepare

MOST_BYTES = 24_000_000


def card():
    """The model card with measured shares; a number that was not measured stays visibly open and fails the assembly."""
    text = (Path(__file__).parent / "card.md").read_text()
    evaluation = FOLDER / "evaluation" / "evaluation.json"
    results = json.loads(evaluation.read_text()) if evaluation.exists() else {}
    for qtype, result in results.items():
        for key in ("subject", "colour", "both"):
            text = text.replace(f"{{{qtype}.{key}}}", f"{result[key]:.1%}".replace("%", " %"))
        for kind, (right, count) in result.get("composed", {}).items():
            text = text.replace(f"{{{qtype}.{kind}}}", f"{right} of {count}")
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    prepare(1, 0)
    pipeline = sample.pipeline_of(
        T5EncoderModel.from_pretrained(FOLDER / "text_encoder", dtype=torch.float32),
        PixArtTransformer2DModel.from_pretrained(FOLDER / "transformer").float(),
        sample.newest_vae(),
    )
    text = card()
    shutil.rmtree(args.output, ignore_errors=True)
    pipeline.to(dtype=torch.float16).save_pretrained(args.output, safe_serialization=True)
    shutil.copy(FOLDER / "tokenizer" / "spiece.model", args.output / "tokenizer" / "spiece.model")
    for config in ("text_encoder", "transformer", "vae"):
        path = args.output / config / "config.json"
        values = json.loads(path.read_text())
        values.pop("_name_or_path", None)  # a path of the machine that trained it
        path.write_text(json.dumps(values, indent=2) + "\n")
    (args.output / "README.md").write_text(text)
    size = sum(path.stat().st_size for path in args.output.rglob("*") if path.is_file())
    PixArtSigmaPipeline.from_pretrained(args.output, torch_dtype=torch.float32)
    print(f"{args.output}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"the checkpoint has {size:,} bytes, expected at most {MOST_BYTES:,}")


if __name__ == "__main__":
    main()
