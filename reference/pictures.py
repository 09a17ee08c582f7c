"""From decoded samples to pixels, and recipes in PNG files, for src/image: python reference/pictures.py writes test/fixtures/pictures.

`pictures.safetensors`: VaeImageProcessor.postprocess and PixArtImageProcessor.resize_and_crop_tensor on random samples; the case
"ties" holds, for every pixel value, the samples nearest to the middle between two values. `recipe-*.png`: the same recipe written by
Pillow as each kind of text chunk.
"""

import json
import math

import numpy
import torch
from diffusers.image_processor import PixArtImageProcessor, VaeImageProcessor
from fixtures import FIXTURES, generator, write_fixture
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SEED = 20
# (height, width) of the samples and of the picture
SIZES = [
    ((8, 8), (8, 8)),
    ((8, 8), (16, 16)),
    ((32, 16), (24, 24)),
    ((16, 24), (10, 9)),
    ((24, 40), (32, 48)),
    ((40, 24), (33, 7)),
    ((7, 5), (64, 80)),
    ((30, 30), (31, 29)),
]
RECIPE = {
    "prompt": 'a "red" apple\n苹果 🍎 ünïcode \ud800',
    "negativePrompt": "",
    "seed": "18446744073709551615",
    "steps": 20,
    "guidanceScale": 4.5,
    "height": 128,
    "width": 96,
    "images": 2,
    "imageIndex": 1,
    "model": "owner/name",
    "revision": "0123456789abcdef0123456789abcdef01234567",
    "modelHash": "00ff",
    "pipeline": "PixArtSigmaPipeline",
    "scheduler": "DPMSolverMultistepScheduler",
    "dtype": "bfloat16",
    "qtypes": {"transformer": "qint8"},
    "useResolutionBinning": False,
    "version": "0.1.0",
}


def ties():
    """Returns samples around the middle between two pixel values, [1, 3, 15, 17]."""
    middle = torch.tensor([(k + 0.5) / 255 * 2 - 1 for k in range(255)], dtype=torch.float32)
    below, above = (torch.nextafter(middle, torch.tensor(side)) for side in (-math.inf, math.inf))
    return torch.stack([below, middle, above]).reshape(1, 3, 15, 17)


def pixel_cases():
    """Returns cases of samples and their pixels [images, height, width, 3]."""
    draw = generator(SEED)
    samples = {"random": 0.9 * torch.randn(2, 3, 9, 14, generator=draw), "ties": ties()}
    processor = VaeImageProcessor()
    for name, value in samples.items():
        pictures = processor.postprocess(value, output_type="pil")
        pixels = torch.from_numpy(numpy.stack([numpy.array(picture) for picture in pictures]))
        yield {"name": f"pixels {name}", "inputs": {"samples": value}, "outputs": {"pixels": pixels}}


def resize_cases():
    """Returns cases of samples and the same scaled and cropped."""
    draw = generator(SEED + 1)
    for (old_height, old_width), (height, width) in SIZES:
        samples = torch.randn(2, 3, old_height, old_width, generator=draw)
        resized = PixArtImageProcessor.resize_and_crop_tensor(samples, width, height)
        assert resized.shape[2:] == (height, width)
        name = f"resize {old_height}x{old_width} to {height}x{width}"
        yield {"name": name, "height": height, "width": width, "inputs": {"samples": samples}, "outputs": {"resized": resized}}


def write_pictures(folder):
    """Writes the recipe as each kind of text chunk."""
    text = json.dumps(RECIPE)
    unicode = json.dumps({**RECIPE, "prompt": RECIPE["prompt"].replace("\ud800", "")}, ensure_ascii=False)
    kinds = {"text": (text, {"zip": False}), "ztxt": (text, {"zip": True}), "itxt": (unicode, {"zip": False}), "itxt-zip": (unicode, {"zip": True})}
    for kind, (value, options) in kinds.items():
        info = PngInfo()
        info.add_text("Comment", "something else")
        (info.add_itxt if kind.startswith("itxt") else info.add_text)("halftone", value, **options)
        Image.new("RGB", (3, 2), (255, 128, 0)).save(folder / f"recipe-{kind}.png", pnginfo=info)
    (folder / "recipe.json").write_text(json.dumps(RECIPE, indent=2) + "\n")
    Image.new("RGBA", (2, 2), (1, 2, 3, 4)).save(folder / "rgba.png")


def main():
    """Writes everything."""
    folder = FIXTURES / "pictures"
    write_fixture(folder, "pictures", script="pictures.py", seed=SEED, cases=[*pixel_cases(), *resize_cases()])
    write_pictures(folder)


if __name__ == "__main__":
    main()
