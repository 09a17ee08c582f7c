"""Writes test/fixtures/pipelines/: a whole PixArt-Σ pipeline with tiny random models, and what the real pipeline makes of it.

test/fixtures/pipelines/tiny/ is a complete diffusers folder; io.safetensors + io.json beside it hold the cases. `config` of a case
names the fields of component configs that it changes. The tokenizer is the demo's, from spiece.model alone, as PixArt's repositories
ship it.

usage: python reference/pipelines.py
"""

import inspect
import json
import shutil

import diffusers
import numpy
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from fixtures import DEMO, DTYPES, FIXTURES, be_quiet, folder_size, generator, randomize, relative_rms, rounded, write_fixture

FOLDER = FIXTURES / "pipelines"
TINY = FOLDER / "tiny"
SEED = 700


def near_denoiser(model, gain):
    """Makes a random transformer predict noise near to its input, as a trained one does at high noise levels.

    Left alone, a random prediction is off by its own size, which the first steps blow up 157 times (sigma / alpha at t = 999): the
    late steps would then hardly count in the final latents. So the patch embedding becomes `gain` times an orthonormal map, which
    proj_out undoes in the noise channels; a large constant beside it keeps the final norm from rescaling each token by its own size.
    Blocks, captions and time move the result by about 1 / gain of it.
    """
    config, width = model.config, model.inner_dim
    size, channels = config.patch_size, config.in_channels
    values = size * size * channels
    vectors = torch.randn(width, values + 2, generator=generator(SEED + 3))
    vectors[:, 0] = 1  # the norm takes the mean away: stay orthogonal to it
    vectors = torch.linalg.qr(vectors).Q
    constant, basis = vectors[:, 1], vectors[:, 2:]
    level = 3 * gain  # of each of the constant's elements
    model.pos_embed.proj.weight.copy_((gain * basis).reshape(width, channels, size, size))
    model.pos_embed.proj.bias.copy_(constant * width**0.5 * level)
    # After the final norm a token is basis * x * gain / spread, beside the constant; rows of proj_out are ordered (row, column, channel).
    spread = (level**2 + gain**2 * values / width) ** 0.5
    back = basis.reshape(width, channels, size, size) * spread / gain
    rows = model.proj_out.weight.view(size, size, config.out_channels, width)
    rows[:, :, :channels].copy_(back.permute(2, 3, 1, 0))
    # The embedded timestep (and size) also scales the head: keep that small, but not what it does to the blocks.
    model.scale_shift_table.mul_(0.02)
    for embedder in (module for name, module in model.adaln_single.emb.named_children() if name.endswith("_embedder")):
        embedder.linear_2.weight.mul_(0.05)
        embedder.linear_2.bias.mul_(0.05)
    model.adaln_single.linear.weight.mul_(20)
    return model


def write_tiny():
    """Writes the pipeline's folder."""
    shutil.rmtree(TINY, ignore_errors=True)
    config = T5Config(
        vocab_size=384,
        d_model=32,
        d_kv=12,
        d_ff=64,
        num_layers=2,
        num_heads=3,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    )
    text_encoder = randomize(T5EncoderModel(config), SEED, torch.float32)
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=32,
        num_layers=2,
        sample_size=16,
        interpolation_scale=1,
        use_additional_conditions=False,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 8, 8, 12),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=128,
        scaling_factor=0.13025,
    )
    PixArtSigmaPipeline(
        tokenizer=T5Tokenizer.from_pretrained(DEMO / "tokenizer", extra_ids=0),
        text_encoder=text_encoder,
        vae=randomize(vae, SEED + 1, torch.float32),
        transformer=near_denoiser(randomize(transformer, SEED + 2, torch.float32), 8),
        scheduler=DPMSolverMultistepScheduler.from_pretrained(DEMO / "scheduler"),
    ).save_pretrained(TINY)
    (TINY / "tokenizer" / "tokenizer.json").unlink()
    shutil.copyfile(DEMO / "tokenizer" / "spiece.model", TINY / "tokenizer" / "spiece.model")


def load_scheduler(folder, _class_name="DPMSolverMultistepScheduler", **overrides):
    """Loads the scheduler with changes, among them its class."""
    config = DPMSolverMultistepScheduler.load_config(folder / "scheduler")
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    return getattr(diffusers, _class_name).from_config({**config, **overrides})


def load(folder, dtype, overrides=None):
    """Loads a pipeline folder with weights rounded to a dtype and widened to float32; overrides: {component: {config field: value}}."""
    overrides = overrides or {}
    transformer = rounded(PixArtTransformer2DModel, folder / "transformer", DTYPES[dtype], **overrides.get("transformer", {}))
    scheduler = load_scheduler(folder, **overrides.get("scheduler", {}))
    cls = getattr(diffusers, json.loads((folder / "model_index.json").read_text())["_class_name"])
    pipeline = cls(
        tokenizer=T5Tokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder=rounded(T5EncoderModel, folder / "text_encoder", DTYPES[dtype]),
        vae=rounded(AutoencoderKL, folder / "vae", DTYPES[dtype]),
        transformer=transformer,
        scheduler=scheduler,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def initial_latents(pipeline, dtype, seed, images, height, width):
    """Draws noise as the pipeline does, in the dtype, and widens it."""
    factor = pipeline.vae_scale_factor
    shape = (images, pipeline.transformer.config.in_channels, height // factor, width // factor)
    return torch.randn(shape, generator=generator(seed), dtype=DTYPES[dtype]).float()


def run(pipeline, latents, options):
    """Runs the pipeline and returns what happened: embeddings, first noise prediction, latents after each step, pictures."""
    embeddings, predictions, steps = [], [], []
    hooks = [
        pipeline.text_encoder.register_forward_hook(
            lambda _m, _a, kwargs, output: embeddings.append((kwargs["attention_mask"], output[0])), with_kwargs=True
        ),
        pipeline.transformer.register_forward_hook(lambda _m, _a, output: predictions.append(output[0])),
    ]
    pictures = pipeline(
        latents=latents.clone(), callback=lambda _i, _t, after: steps.append(after.clone()), callback_steps=1, output_type="pil", **options
    ).images
    for hook in hooks:
        hook.remove()
    return {"embeddings": embeddings, "noise": predictions[0], "steps": steps, "pixels": pixels_of(pictures)}


def pixels_of(pictures):
    """Returns pictures as one tensor of bytes."""
    return torch.from_numpy(numpy.stack([numpy.array(picture) for picture in pictures]))


def run_flow(pipeline, latents, options, text_of):
    """As `run`, for a pipeline with diffusers' newer callback; `text_of` picks the text from what the transformer is called with first.

    The prediction is what the scheduler gets: guided.
    """
    text, predictions, steps = [], [], []
    take_step = pipeline.scheduler.step

    def step(prediction, *rest, **more):
        predictions.append(prediction.clone())
        return take_step(prediction, *rest, **more)

    def after(_pipeline, _index, _timestep, values):
        steps.append(values["latents"].clone())
        return {}

    hook = pipeline.transformer.register_forward_pre_hook(lambda _m, _a, kwargs: text.append(text_of(kwargs)), with_kwargs=True)
    pipeline.scheduler.step = step
    pictures = pipeline(latents=latents.clone(), callback_on_step_end=after, output_type="pil", **options).images
    hook.remove()
    pipeline.scheduler.step = take_step
    return {"text": text[0], "noise": predictions[0], "steps": steps, "pixels": pixels_of(pictures)}


def drift(pipeline, latents, options, result, runs=3, run=run):
    """Runs again from latents moved by 1e-7, relative; returns the largest relative RMS of final latents and difference of pictures."""
    largest, levels = 0.0, 0
    for index in range(runs):
        noise = torch.randn(latents.shape, generator=generator(9000 + index), dtype=torch.float64)
        moved = (latents.double() * (1 + 1e-7 * noise)).float()
        again = run(pipeline, moved, options)
        largest = max(largest, relative_rms(again["steps"][-1], result["steps"][-1]))
        levels = max(levels, int((again["pixels"].int() - result["pixels"].int()).abs().max()))
    return {"drift": float(f"{largest:.3g}"), "driftPicture": levels}


def case(folder, name, seed=0, dtype="float32", config=None, keep_embeddings=False, size=(64, 96), pipeline=None, **options):
    """Makes one case. Step numbers count from 1; latents are kept after steps 1 to 4, the middle one and the last."""
    pipeline = pipeline or load(folder, dtype, config)
    options = {"use_resolution_binning": False, "height": size[0], "width": size[1], **options}
    images = options.get("num_images_per_prompt", 1)
    height, width = size
    if options["use_resolution_binning"]:
        from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import ASPECT_RATIO_256_BIN

        height, width = pipeline.image_processor.classify_height_width_bin(height, width, ratios=ASPECT_RATIO_256_BIN)
    latents = initial_latents(pipeline, dtype, seed, images, height, width)
    result = run(pipeline, latents, options)
    if dtype == "float32":
        # The pipeline draws the same noise from the seed by itself.
        own = run_with_generator(pipeline, seed, options)
        assert torch.equal(own, result["pixels"]), f"{name}: noise handed in and noise drawn differ"
    count = len(result["steps"])
    outputs = {"initial_latents": latents, "noise_first": result["noise"]}
    outputs |= {f"latents_{index + 1}": value for index, value in enumerate(result["steps"]) if index < 4 or index + 1 in (count // 2, count)}
    outputs |= {"final_latents": result["steps"][-1], "picture": result["pixels"], "timesteps": pipeline.scheduler.timesteps}
    tokens = inspect.signature(type(pipeline).__call__).parameters["max_sequence_length"].default
    prompts = [("prompt", options["prompt"]), ("negative_prompt", options.get("negative_prompt", ""))]
    for (label, text), (mask, embeds) in zip(prompts, result["embeddings"], strict=False):
        ids = pipeline.tokenizer(text.lower().strip(), padding="max_length", max_length=tokens, truncation=True, return_tensors="pt").input_ids
        outputs |= {f"{label}_ids": ids.to(torch.int32), f"{label}_mask": mask.to(torch.int32)}
        if keep_embeddings:
            outputs[f"{label}_embeds"] = embeds
    about = {"seed": seed, "dtype": dtype, "config": config or {}, "options": options, **drift(pipeline, latents, options, result)}
    return {"name": name, **about, "outputs": outputs}


def run_with_generator(pipeline, seed, options):
    """Runs the pipeline from its own noise."""
    pictures = pipeline(generator=generator(seed), output_type="pil", **options).images
    return pixels_of(pictures)


def cases():
    """All cases of the tiny pipeline."""
    fox = "A red fox, sitting in the snow"
    long_prompt = " ".join(f"a {subject} and" for subject in ("fox", "castle", "apple", "robot") * 30)
    return [
        case(TINY, "prompt-20", seed=1, keep_embeddings=True, prompt=fox, num_inference_steps=20),
        case(TINY, "square-20", seed=2, size=(128, 128), prompt="a castle", num_inference_steps=20),
        case(TINY, "negative-4", seed=3, keep_embeddings=True, prompt=fox, negative_prompt="blurry, dark", num_inference_steps=4, guidance_scale=7.0),
        case(TINY, "no-guidance-20", seed=4, prompt=fox, num_inference_steps=20, guidance_scale=1.0),
        case(TINY, "one-step", seed=5, size=(96, 64), prompt=fox, num_inference_steps=1),
        case(TINY, "no-guidance-one-step", seed=6, prompt=fox, num_inference_steps=1, guidance_scale=0.0),
        case(TINY, "two-images-4", seed=7, prompt="two robots", num_inference_steps=4, num_images_per_prompt=2),
        case(TINY, "two-images-no-guidance-4", seed=8, size=(32, 48), prompt=fox, num_inference_steps=4, num_images_per_prompt=2, guidance_scale=1.0),
        case(TINY, "empty-prompt-4", seed=9, size=(32, 32), prompt="", num_inference_steps=4),
        case(TINY, "long-prompt-1", seed=10, size=(32, 32), prompt=long_prompt, num_inference_steps=1),
        case(TINY, "float16-20", seed=11, dtype="float16", keep_embeddings=True, prompt=fox, num_inference_steps=20),
        case(TINY, "bfloat16-20", seed=12, dtype="bfloat16", keep_embeddings=True, prompt=fox, num_inference_steps=20),
        case(TINY, "float16-1", seed=13, dtype="float16", size=(32, 48), prompt=fox, num_inference_steps=1, num_images_per_prompt=2),
        case(TINY, "karras-20", seed=14, config={"scheduler": {"use_karras_sigmas": True}}, prompt=fox, num_inference_steps=20),
        case(TINY, "trailing-4", seed=15, config={"scheduler": {"timestep_spacing": "trailing"}}, prompt=fox, num_inference_steps=4),
        case(
            TINY,
            "third-order-10",
            seed=16,
            config={"scheduler": {"solver_order": 3, "timestep_spacing": "leading", "steps_offset": 1, "final_sigmas_type": "sigma_min"}},
            prompt=fox,
            num_inference_steps=10,
        ),
        # 96 x 128 pixels lies nearest to a trained shape of 256 pixels; the picture is made in that and then resized and cropped.
        case(
            TINY,
            "binning-4",
            seed=17,
            size=(96, 128),
            config={"transformer": {"sample_size": 32}},
            prompt=fox,
            num_inference_steps=4,
            use_resolution_binning=True,
        ),
    ]


def main():
    be_quiet()
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_tiny()
    made = cases()
    write_fixture(FOLDER, "io", script="pipelines.py", seed=SEED, cases=made, className="PixArtSigmaPipeline", pipeline="tiny")
    for entry in made:
        final = entry["outputs"]["final_latents"]
        spread = entry["outputs"]["picture"].float()
        print(
            f"{entry['name']}: drift {entry['drift']:.2g}, picture {entry['driftPicture']}/255, latents rms {final.pow(2).mean().sqrt():.3g}, "
            f"steps {[round(float(v.pow(2).mean().sqrt()), 2) for k, v in entry['outputs'].items() if k.startswith('latents_')]} "
            f"picture mean {spread.mean():.0f} std {spread.std():.0f}"
        )
    print(f"pipelines: {folder_size(FOLDER):,} bytes; {json.dumps({p.name: folder_size(p) for p in TINY.iterdir() if p.is_dir()})}")


if __name__ == "__main__":
    main()
