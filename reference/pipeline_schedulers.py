"""Writes test/fixtures/pipelines/schedulers.{json,safetensors}: the tiny pipeline (see pipelines.py, which must have run) with other schedulers.

A case's `scheduler` is the whole scheduler_config.json. Schedulers that draw noise at their steps go on with the generator that drew the
initial latents, in float32 whatever the pipeline's dtype.

usage: python reference/pipeline_schedulers.py
"""

import json
import math

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from fixtures import DTYPES, be_quiet, generator, relative_rms, write_fixture
from pipelines import FOLDER, TINY, load, run

SEED = 800
FOX = "A red fox, sitting in the snow"


def make_scheduler(cls, changes):
    """Makes a scheduler from the pipeline's own config, as users exchange one, with changes."""
    config = {key: value for key, value in DPMSolverMultistepScheduler.load_config(TINY / "scheduler").items() if not key.startswith("_")}
    return cls.from_config({**config, **changes})


def case(name, cls, seed, dtype="float32", size=(64, 96), changes=None, **options):
    """Makes one case; latents are kept after steps 1 to 3 and the last."""
    options = {"prompt": FOX, "use_resolution_binning": False, "height": size[0], "width": size[1], **options}
    pipeline = load(TINY, dtype)
    pipeline.scheduler = make_scheduler(cls, changes or {})
    factor, images = pipeline.vae_scale_factor, options.get("num_images_per_prompt", 1)
    shape = (images, pipeline.transformer.config.in_channels, size[0] // factor, size[1] // factor)

    def attempt(perturb=None):
        draw = generator(seed)
        latents = torch.randn(shape, generator=draw, dtype=DTYPES[dtype]).float()
        if perturb is not None:
            noise = torch.randn(shape, generator=generator(9000 + perturb), dtype=torch.float64)
            latents = (latents.double() * (1 + 1e-7 * noise)).float()
        return run(pipeline, latents, {**options, "generator": draw})

    result = attempt()
    drift = max(relative_rms(attempt(index)["steps"][-1], result["steps"][-1]) for index in range(2))
    steps = result["steps"]
    outputs = {f"latents_{index + 1}": value for index, value in enumerate(steps) if index < 3}
    outputs |= {"final_latents": steps[-1], "picture": result["pixels"], "timesteps": pipeline.scheduler.timesteps}
    config = json.loads(pipeline.scheduler.to_json_string())
    # -Infinity is not JSON; what it stands for is the default.
    config = {key: value for key, value in config.items() if not (isinstance(value, float) and math.isinf(value))}
    about = {"seed": seed, "dtype": dtype, "scheduler": config, "options": options, "drift": float(f"{drift:.3g}")}
    print(f"{name}: drift {drift:.2g}, latents rms {steps[-1].pow(2).mean().sqrt():.3g}, picture std {result['pixels'].float().std():.0f}", flush=True)
    return {"name": name, **about, "outputs": outputs}


def main():
    be_quiet()
    sde = {"algorithm_type": "sde-dpmsolver++"}
    ddim = {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False, "timestep_spacing": "leading"}
    cases = [
        case("euler-10", EulerDiscreteScheduler, 801, num_inference_steps=10),
        case("euler-float16-10", EulerDiscreteScheduler, 802, dtype="float16", num_inference_steps=10),
        case(
            "euler-karras-trailing-4",
            EulerDiscreteScheduler,
            803,
            size=(32, 48),
            changes={"use_karras_sigmas": True, "timestep_spacing": "trailing"},
            num_inference_steps=4,
            num_images_per_prompt=2,
        ),
        case("ddim-10", DDIMScheduler, 804, changes=ddim, num_inference_steps=10),
        case("ddim-float16-10", DDIMScheduler, 805, dtype="float16", changes=ddim, num_inference_steps=10),
        case("ddim-clip-4", DDIMScheduler, 806, size=(32, 48), num_inference_steps=4, guidance_scale=1.0),
        case("sde-10", DPMSolverMultistepScheduler, 807, changes=sde, num_inference_steps=10),
        case("sde-float16-10", DPMSolverMultistepScheduler, 808, dtype="float16", changes=sde, num_inference_steps=10),
        case("sde-bfloat16-4", DPMSolverMultistepScheduler, 809, dtype="bfloat16", size=(32, 48), changes=sde, num_inference_steps=4),
        case("sde-two-images-4", DPMSolverMultistepScheduler, 810, size=(32, 48), changes=sde, num_inference_steps=4, num_images_per_prompt=2),
    ]
    write_fixture(FOLDER, "schedulers", script="pipeline_schedulers.py", seed=SEED, cases=cases, className="PixArtSigmaPipeline", pipeline="tiny")
    print(f"schedulers: {sum(path.stat().st_size for path in FOLDER.glob('schedulers.*')):,} bytes")


if __name__ == "__main__":
    main()
