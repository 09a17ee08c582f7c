"""The pictures and their captions: subjects of subjects.json on plain backgrounds, alone, big or small, left or right, or in pairs.

A Scene says what is drawn where; render() draws it, captions() names it. A (subject, colour) pair that subjects.json lists under
heldOut appears in no training scene, alone or in company; a tenth of the pairs of subjects is held out as well.
"""

import json
import multiprocessing
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy
import torch
from PIL import Image

from state import FOLDER

SIZE = 128
CENTRE, BIG, SMALL, HALF = 104, 122, 56, 60  # pixels of a drawing
KINDS = ("centre", "size", "side", "pair")
DATA = json.loads((Path(__file__).parent / "subjects.json").read_text())
COLOURS = {name: tuple(bytes.fromhex(value)) for name, value in DATA["colours"].items()}
SUBJECTS = DATA["subjects"]
NAMES = [subject["name"] for subject in SUBJECTS]
COLOUR_NAMES = list(COLOURS)
HELD_OUT = [(index, colour) for index, subject in enumerate(SUBJECTS) for colour in subject["heldOut"]]


@dataclass(frozen=True)
class Scene:
    kind: str
    colour: str
    objects: tuple  # (subject, left, top, pixels) from left to right
    word: str = ""  # big, small, left, right


@lru_cache(maxsize=None)
def drawing(subject, pixels):
    """A subject as premultiplied float RGBA [pixels, pixels, 4], 0..1."""
    image = Image.open(FOLDER / "icons" / f"{SUBJECTS[subject]['icon']}.png").convert("RGBa")
    return numpy.asarray(image.resize((pixels, pixels), Image.Resampling.BOX if 480 % pixels == 0 else Image.Resampling.LANCZOS), numpy.float32) / 255


def render(scene, shift=(0, 0)):
    """The scene as uint8 [128, 128, 3]; parts outside of the picture are cut off."""
    picture = numpy.empty((SIZE, SIZE, 3), numpy.float32)
    picture[:] = numpy.array(COLOURS[scene.colour], numpy.float32) / 255
    for subject, left, top, pixels in scene.objects:
        left, top = left + shift[0], top + shift[1]
        source = drawing(subject, pixels)[max(0, -top) : SIZE - top, max(0, -left) : SIZE - left]
        target = picture[max(0, top) : top + pixels, max(0, left) : left + pixels]
        target *= 1 - source[..., 3:]
        target += source[..., :3]
    return numpy.round(numpy.clip(picture, 0, 1) * 255).astype(numpy.uint8)


def render_all(scenes, processes=1):
    """The scenes as uint8 [n, 128, 128, 3]; with more processes than one, call it before anything runs on a GPU."""
    if processes == 1:
        return numpy.stack([render(scene) for scene in scenes])
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        return numpy.stack(pool.map(render, scenes, chunksize=64))


def centred(kind, subject, colour, pixels, word="", shift=(0, 0)):
    at = (SIZE - pixels) // 2
    return Scene(kind, colour, ((subject, at + shift[0], at + shift[1], pixels),), word)


def beside(subject, colour, word, shift=(0, 0)):
    left = 2 if word == "left" else SIZE - HALF - 2
    return Scene("side", colour, ((subject, left + shift[0], (SIZE - HALF) // 2 + shift[1], HALF),), word)


def pair(first, second, colour, shift=(0, 0)):
    top = (SIZE - HALF) // 2 + shift[1]
    return Scene("pair", colour, ((first, 2 + shift[0], top, HALF), (second, SIZE - HALF - 2 + shift[0], top, HALF)))


def pair_held_out(first, second):
    names = "+".join(sorted((NAMES[first], NAMES[second])))
    return zlib.crc32(names.encode()) % 10 == 0


def training_scenes(seed, shifts=4, pairs=6000):
    """Every allowed combination, alone in `shifts` places, a quarter as often big, small, left and right; and some of the pairs."""
    generator = numpy.random.default_rng(seed)
    held_out, scenes = set(HELD_OUT), []

    def jitter(most):
        return tuple(int(v) for v in generator.integers(-most, most + 1, 2))

    for subject in range(len(SUBJECTS)):
        for colour in COLOUR_NAMES:
            if (subject, colour) in held_out:
                continue
            scenes += [centred("centre", subject, colour, CENTRE, shift=jitter(6)) for _ in range(shifts)]
            for _ in range(max(1, shifts // 4)):
                scenes.append(centred("size", subject, colour, BIG, "big", jitter(2)))
                scenes.append(centred("size", subject, colour, SMALL, "small", jitter(6)))
                scenes += [beside(subject, colour, word, jitter(2)) for word in ("left", "right")]
    while pairs > 0:
        first, second = (int(v) for v in generator.choice(len(SUBJECTS), 2, replace=False))
        colour = COLOUR_NAMES[generator.integers(len(COLOUR_NAMES))]
        if pair_held_out(first, second) or (first, colour) in held_out or (second, colour) in held_out:
            continue
        scenes.append(pair(first, second, colour, jitter(2)))
        pairs -= 1
    return scenes


def named(subject):
    article = SUBJECTS[subject]["article"]
    return f"{article} {NAMES[subject]}".strip()


def captions(scene):
    """All captions of a scene."""
    colour, name = scene.colour, NAMES[scene.objects[0][0]]
    article, a_name = "an" if colour[0] in "aeiou" else "a", named(scene.objects[0][0])
    back = f"{article} {colour} background"
    if scene.kind == "pair":
        other, a_other = NAMES[scene.objects[1][0]], named(scene.objects[1][0])
        return [
            f"{a_name} and {a_other} on {back}",
            f"{a_name} and {a_other} on {back}",
            f"{name} and {other}, {colour} background",
            f"{a_name} to the left of {a_other} on {back}",
            f"{a_other} to the right of {a_name} on {back}",
        ]
    if scene.kind == "side":
        return [f"{a_name} on the {scene.word} on {back}", f"{name} on the {scene.word}, {colour} background"]
    if scene.kind == "size":
        sized = f"a {scene.word} {name}" if SUBJECTS[scene.objects[0][0]]["article"] else f"{scene.word} {name}"
        return [f"{sized} on {back}", f"{scene.word} {name}, {colour} background"]
    return [
        f"{a_name} on {back}",
        f"{name}, {colour} background",
        f"{a_name} in front of {article} {colour} wall",
        f"{name} on {colour}",
        f"{back} with {a_name}",
    ]


def to_pixels(pictures):
    """uint8 [n, 128, 128, 3], an array or a tensor, to a float32 tensor [n, 3, 128, 128] in -1..1, channels last in memory."""
    return (torch.as_tensor(pictures).float() / 127.5 - 1).permute(0, 3, 1, 2)


def grid(pictures, columns, path, gap=2):
    """Writes uint8 pictures as one PNG, row by row."""
    rows = -(-len(pictures) // columns)
    side = pictures[0].shape[0] + gap
    sheet = numpy.full((rows * side - gap, columns * side - gap, 3), 128, numpy.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet[row * side : row * side + side - gap, column * side : column * side + side - gap] = picture
    Image.fromarray(sheet).save(path, optimize=True)
