"""Puts the trained parts together as a diffusers folder: float16 safetensors, configs, tokenizer, scheduler, model card.

The card is train/card.md, filled with what evaluate.py measured and what the states of training say about their cost.

usage: python train/assemble.py OUTPUT
"""

import argparse
import json
import re
import shutil
from pathlib import Path

import torch
from diffusers import PixArtSigmaPipeline, PixArtTransformer2DModel
from transformers import T5EncoderModel

import dataset
import sample
from state import FOLDER, prepare

MOST_BYTES = 24_000_000


def training_costs():
    """One line for each long step: steps, time, and what it started from."""
    lines = []
    for name, what in (("vae-train", "VAE"), ("vae-polish", "decoder, polished"), ("transformer", "transformer and text encoder")):
        file = FOLDER / f"{name}.json"
        if file.exists():
            costs = json.loads(file.read_text())
            lines.append(f"- {what}: {costs['steps']:,} steps, {costs['seconds'] / 60:.1f} minutes of {costs['hardware']}, started from {costs['origin']}")
    return "\n".join(lines)


def card():
    """The model card; a number that was not measured reads "not measured"."""
    text = (Path(__file__).parent / "card.md").read_text()
    evaluation = FOLDER / "evaluation" / "evaluation.json"
    results = json.loads(evaluation.read_text()) if evaluation.exists() else {}
    facts = {"colours": ", ".join(dataset.COLOURS), "subjects": ", ".join(dataset.NAMES), "training": training_costs()}
    for qtype, result in results.items():
        facts |= {f"{qtype}.{key}": f"{result[key]:.1%}".replace("%", " %") for key in ("subject", "colour", "both")}
        facts |= {f"{qtype}.{kind}": f"{right} of {count}" for kind, (right, count) in result.get("composed", {}).items()}
        facts[f"{qtype}.wrong"] = "; ".join(result["wrong"]) or "none"
    return re.sub(r"\{([a-z0-9.]+)\}", lambda match: facts.get(match[1], "not measured"), text)


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
    for path in args.output.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes files that their owner alone may read
    size = sum(path.stat().st_size for path in args.output.rglob("*") if path.is_file())
    PixArtSigmaPipeline.from_pretrained(args.output, torch_dtype=torch.float32)
    print(f"{args.output}: {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"the checkpoint has {size:,} bytes, expected at most {MOST_BYTES:,}")


if __name__ == "__main__":
    main()
