"""Quantizes one part with Quanto as its users do: load, quantize, freeze, save. JSON on stdout: seconds of each.

usage: python reference/run_quanto.py FOLDER --output FOLDER [--qtype qint8] [--dtype float16] [--exclude PATTERN]
"""

import argparse
import json
import time
from pathlib import Path

import torch
from diffusers import PixArtTransformer2DModel
from optimum.quanto import QuantizedPixArtTransformer2DModel, freeze, quantize
from optimum.quanto.models.transformers_models import QuantizedTransformersModel
from transformers import T5EncoderModel


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--qtype", default="qint8")
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--exclude")
    args = parser.parse_args()
    seconds, before = {}, time.perf_counter()

    def note(phase):
        nonlocal before
        now = time.perf_counter()
        seconds[phase], before = now - before, now

    config = json.loads((args.folder / "config.json").read_text())
    is_t5 = "_class_name" not in config
    cls = T5EncoderModel if is_t5 else PixArtTransformer2DModel
    model = cls.from_pretrained(args.folder, torch_dtype=getattr(torch, args.dtype))
    note("load")
    quantize(model, weights=args.qtype, exclude=args.exclude)
    note("quantize")
    freeze(model)
    note("freeze")
    (QuantizedTransformersModel if is_t5 else QuantizedPixArtTransformer2DModel)(model).save_pretrained(args.output)
    note("save")
    print(json.dumps({"seconds": seconds, "threads": torch.get_num_threads(), "torch": torch.__version__}))


if __name__ == "__main__":
    main()
