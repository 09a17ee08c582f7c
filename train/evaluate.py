"""Measures prompt following: how often a picture of a held-out prompt has the asked subject and colour, judged by classifier.py.

Runs diffusers in float32, and with transformer and text encoder quantized by optimum-quanto; or, with --halftone, halftone's command, for which
"qint8 --fast" is a qtype, too. Compositions are measured in float32: big and small by the height of what is drawn, left and right by its
middle, pairs by judging each half. Writes evaluation.json and one grid for each qtype.

usage: python train/evaluate.py MODEL [--qtypes float32,qint8,...] [--halftone "node dist/cli/main.js"] [--output FOLDER] [--seeds N] [--every K]
"""

import argparse
import json
import shlex
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy
import torch
from diffusers import PixArtSigmaPipeline
from optimum import quanto
from PIL import Image
from torch.nn import functional

import classifier
import dataset
import sample
from state import FOLDER, prepare


def single_cases(seeds):
    """Every held-out subject and colour, the caption changing from seed to seed."""
    cases = []
    for seed in range(seeds):
        for index, (subject, colour) in enumerate(dataset.HELD_OUT):
            texts = dataset.captions(dataset.centred("centre", subject, colour, dataset.CENTRE))
            cases.append((texts[(index + seed) % len(texts)], subject, colour))
    return cases


def composed_cases(count, seed=11):
    """Held-out combinations: big, small, left, right, and pairs of subjects that no training scene has."""
    generator = numpy.random.default_rng(seed)
    cases = []
    for index in range(count):
        subject, colour = dataset.HELD_OUT[generator.integers(len(dataset.HELD_OUT))]
        word = ("big", "small", "left", "right")[index % 4]
        if word in ("big", "small"):
            scene = dataset.centred("size", subject, colour, dataset.BIG if word == "big" else dataset.SMALL, word)
        else:
            scene = dataset.beside(subject, colour, word)
        cases.append((dataset.captions(scene)[0], scene))
    held_out = set(dataset.HELD_OUT)
    while len(cases) < 2 * count:
        first, second = (int(v) for v in generator.choice(len(dataset.SUBJECTS), 2, replace=False))
        colour = dataset.COLOUR_NAMES[generator.integers(len(dataset.COLOUR_NAMES))]
        if dataset.pair_held_out(first, second) and not {(first, colour), (second, colour)} & held_out:
            scene = dataset.pair(first, second, colour)
            cases.append((dataset.captions(scene)[0 if len(cases) % 2 else 3], scene))
    return cases


@torch.no_grad()
def judged(judge, crops):
    """uint8 pictures to indices of subject and colour; 128 x 128 is halved, 64 x 64 taken as it is."""
    pixels = dataset.to_pixels(numpy.stack(crops))
    if pixels.shape[-1] == dataset.SIZE:
        pixels = functional.avg_pool2d(pixels, 2)
    return [logits.argmax(1).tolist() for logits in judge(pixels)]


def extent(picture):
    """Top, bottom, left, right of what differs from the picture's border colour, as shares of its size; None for an empty one."""
    border = numpy.concatenate([picture[:3].reshape(-1, 3), picture[-3:].reshape(-1, 3)])
    differs = numpy.abs(picture.astype(int) - numpy.median(border, 0)).max(-1) > 40
    rows, columns = numpy.flatnonzero(differs.sum(1) > 2), numpy.flatnonzero(differs.sum(0) > 2)
    if not len(rows) or not len(columns):
        return None
    return tuple(v / dataset.SIZE for v in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))


def score_composed(judge, cases, pictures):
    scores = {"size": [], "side": [], "pair": []}
    for (_, scene), picture in zip(cases, pictures, strict=True):
        colour = dataset.COLOUR_NAMES.index(scene.colour)
        if scene.kind == "pair":
            subjects, colours = judged(judge, [picture[32:96, :64], picture[32:96, 64:]])
            asked = [o[0] for o in scene.objects]
            scores["pair"].append(subjects == asked and colours == [colour, colour])
            continue
        box = extent(picture)
        if box is None:
            scores[scene.kind].append(False)
        elif scene.kind == "size":
            larger = max(box[1] - box[0], box[3] - box[2])
            scores["size"].append(bool(larger > 0.72 if scene.word == "big" else larger < 0.55))
        else:
            scores["side"].append(bool(box[3] < 0.6 if scene.word == "left" else box[2] > 0.4))
    return {kind: [sum(values), len(values)] for kind, values in scores.items()}


def by_halftone(command, folder, qtype, prompts, first_seed=0):
    """Pictures as sample.generate makes them, each by a process of halftone's command."""
    flags = [] if qtype == "float32" else ["--qtype", *qtype.split()]
    pictures = []
    with tempfile.TemporaryDirectory() as own:
        asked = ["--model", str(folder), *flags, "--steps", "20", "--guidance-scale", "4.5", "--quiet"]
        for index, prompt in enumerate(prompts):
            file = Path(own) / f"{index}.png"
            own_flags = ["--seed", str(first_seed + index), "--output", str(file)]
            subprocess.run([*command, "generate", *asked, *own_flags, "--", prompt], check=True, stdout=subprocess.DEVNULL)
            with Image.open(file) as picture:
                pictures.append(numpy.asarray(picture.convert("RGB")))
    return pictures


def by_diffusers(folder, qtype):
    pipeline = PixArtSigmaPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    if qtype != "float32":
        for part in (pipeline.transformer, pipeline.text_encoder):
            quanto.quantize(part, weights=getattr(quanto, qtype))
            quanto.freeze(part)
    return partial(sample.generate, pipeline)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--qtypes", default="float32,qfloat8,qint8,qint4,qint2")
    parser.add_argument("--halftone", type=shlex.split, metavar="COMMAND", help="make the pictures with it instead of diffusers")
    parser.add_argument("--output", type=Path, default=FOLDER / "evaluation")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--composed", type=int, default=32, help="0: single subjects only")
    parser.add_argument("--every", type=int, default=1, help="only every K-th held-out combination")
    parser.add_argument("--only-first", type=int, help="only the first N subjects (64: those of the first checkpoint)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    prepare(args.threads, 0)
    judge = classifier.load()
    args.output.mkdir(parents=True, exist_ok=True)
    cases = [case for case in single_cases(args.seeds) if case[1] < (args.only_first or 10**6)][:: args.every]
    composed = composed_cases(args.composed)
    results = {}
    for qtype in args.qtypes.split(","):
        started = time.monotonic()
        draw = partial(by_halftone, args.halftone, args.model, qtype) if args.halftone else by_diffusers(args.model, qtype)
        pictures = draw([case[0] for case in cases])
        subjects, colours = judged(judge, pictures)
        right = [(s == c[1], dataset.COLOUR_NAMES[k] == c[2]) for s, k, c in zip(subjects, colours, cases, strict=True)]
        results[qtype] = {
            "prompts": len(cases),
            "subject": sum(r[0] for r in right) / len(right),
            "colour": sum(r[1] for r in right) / len(right),
            "both": sum(all(r) for r in right) / len(right),
            "wrong": [c[0] for r, c in zip(right, cases, strict=True) if not all(r)],
        }
        dataset.grid(pictures, 14, args.output / f"held-out-{qtype.replace(' ', '')}.png")
        if composed and qtype == "float32":
            drawn = draw([case[0] for case in composed], first_seed=1000)
            results[qtype]["composed"] = score_composed(judge, composed, drawn)
            dataset.grid(drawn, 16, args.output / f"composed-{qtype}.png")
        results[qtype]["seconds"] = round(time.monotonic() - started, 1)
        print(qtype, json.dumps(results[qtype]), flush=True)
        (args.output / "evaluation.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
