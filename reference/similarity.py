"""Writes test/fixtures/similarity.json: pairs of small pictures with their PSNR and SSIM by scikit-image.

Wang's SSIM: an 11 x 11 Gaussian window (sigma 1.5, cut at 3.5 sigma), biased covariances, the mean over channels and over the windows
inside the picture. scikit-image is not part of the reference environment: pip install scikit-image==0.26.0, in one of its own
if you like; without it the committed fixture is left alone.
"""

import json
from pathlib import Path

import numpy

try:
    import skimage
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity
except ImportError:
    raise SystemExit(print("scikit-image is not installed: test/fixtures/similarity.json stays as it is"))

FIXTURE = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "similarity.json"
SEED = 20


def smooth(rng, height, width):
    """Returns a picture of soft gradients, which pictures have and noise has not."""
    y, x = numpy.mgrid[0:height, 0:width]
    waves = [127.5 + 120 * numpy.sin(rng.uniform(0.1, 0.5) * x + rng.uniform(0.1, 0.5) * y + phase) for phase in (0, 2, 4)]
    return numpy.stack(waves, axis=-1).round().astype(numpy.uint8)


def cases():
    rng = numpy.random.default_rng(SEED)
    for name, height, width, noise in [("near", 16, 20, 3), ("far", 24, 13, 40), ("one window", 11, 11, 20), ("equal", 12, 12, 0)]:
        a = smooth(rng, height, width)
        b = numpy.clip(a + rng.normal(0, 1, a.shape) * noise, 0, 255).round().astype(numpy.uint8)
        yield name, a, b
    a = smooth(rng, 14, 15)
    yield "brighter", a, numpy.clip(a.astype(int) + 25, 0, 255).astype(numpy.uint8)
    yield "flat", numpy.full((12, 11, 3), 90, numpy.uint8), numpy.full((12, 11, 3), 100, numpy.uint8)


def measured(name, a, b):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "channel_axis": -1}
    equal = bool((a == b).all())
    return {
        "name": name,
        "height": a.shape[0],
        "width": a.shape[1],
        "a": a.flatten().tolist(),
        "b": b.flatten().tolist(),
        "psnr": None if equal else float(peak_signal_noise_ratio(a, b, data_range=255)),
        "ssim": float(structural_similarity(a, b, **options)),
    }


about = {"script": "reference/similarity.py", "seed": SEED, "versions": {"scikit-image": skimage.__version__, "numpy": numpy.__version__}}
text = json.dumps({**about, "cases": [measured(*case) for case in cases()]}, separators=(",", ":"))
FIXTURE.write_text(text + "\n")
