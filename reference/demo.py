"""Writes test/fixtures/demo/: the demo checkpoint models/demo run by diffusers on eight prompts, as pictures, latents and drift.

io.safetensors holds each case's final latents (float32, before un-scaling for the VAE) and the transformer's first prediction;
NAME.png is the picture. io.json has the options of each call, the drift, and the sha256 of the checkpoint's weights.

usage: python reference/demo.py
"""

import hashlib
import shutil

from PIL import Image

from fixtures import DEMO, FIXTURES, be_quiet, folder_size, write_fixture
from pipelines import drift, initial_latents, load, run, run_with_generator

FOLDER = FIXTURES / "demo"
PROMPTS = [  # name, seed, options beside the defaults (20 steps, guidance 4.5)
    ("red-apple", 0, {"prompt": "a red apple on a blue background"}),
    ("fox", 1, {"prompt": "a fox on a green background"}),
    ("castle", 2, {"prompt": "castle, pink background"}),
    ("rocket", 3, {"prompt": "a rocket in front of a black wall"}),
    ("octopus-guidance-2", 4, {"prompt": "octopus on yellow", "guidance_scale": 2.0}),
    ("sunflower-negative", 5, {"prompt": "a white background with a sunflower", "negative_prompt": "a red background"}),
    ("snowman-no-guidance", 6, {"prompt": "a snowman on a purple background", "guidance_scale": 1.0}),
    ("robot-12-steps", 7, {"prompt": "a robot on an orange background", "num_inference_steps": 12}),
]


def main():
    be_quiet()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    pipeline = load(DEMO, "float32")
    cases = []
    for name, seed, options in PROMPTS:
        options = {"use_resolution_binning": False, "num_inference_steps": 20, "guidance_scale": 4.5, "height": 128, "width": 128, **options}
        latents = initial_latents(pipeline, "float32", seed, 1, 128, 128)
        result = run(pipeline, latents, options)
        assert (run_with_generator(pipeline, seed, options) == result["pixels"]).all(), f"{name}: own noise differs"
        Image.fromarray(result["pixels"][0].numpy()).save(FOLDER / f"{name}.png", optimize=True)
        moved = drift(pipeline, latents, options, result, runs=2)
        outputs = {"final_latents": result["steps"][-1], "noise_first": result["noise"]}
        cases.append({"name": name, "seed": seed, "dtype": "float32", "options": options, **moved, "picture": f"{name}.png", "outputs": outputs})
        print(f"{name}: drift {moved['drift']:.2g}, picture {moved['driftPicture']}/255")
    weights = {
        str(path.relative_to(DEMO)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(DEMO.rglob("*.safetensors"))
    }
    write_fixture(FOLDER, "io", script="demo.py", seed=0, cases=cases, className="PixArtSigmaPipeline", pipeline="models/demo", weights=weights)
    print(f"demo: {folder_size(FOLDER):,} bytes")


if __name__ == "__main__":
    main()
