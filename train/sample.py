"""Opens the pipeline as it is so far and makes pictures from prompts, in batches, each prompt with its own seed."""

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, PixArtSigmaPipeline
from transformers import T5Tokenizer

from state import FOLDER


def scheduler():
    return DPMSolverMultistepScheduler(beta_schedule="linear", beta_start=0.0001, beta_end=0.02, algorithm_type="dpmsolver++", solver_order=2)


def newest_vae():
    """The VAE of the latents, with its decoder polished where that was done."""
    folder = FOLDER / "vae-polished"
    return AutoencoderKL.from_pretrained(folder if folder.exists() else FOLDER / "vae-of-latents").float()


def pipeline_of(text_encoder, transformer, vae):
    pipeline = PixArtSigmaPipeline(
        tokenizer=T5Tokenizer.from_pretrained(FOLDER / "tokenizer"),
        text_encoder=text_encoder,
        vae=vae,
        transformer=transformer,
        scheduler=scheduler(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def generate(pipeline, prompts, first_seed=0, steps=20, guidance=4.5, size=16):
    """Pictures as uint8 [128, 128, 3], one for each prompt; the tokens after the 64th would all be padding, which is masked."""
    pictures = []
    for start in range(0, len(prompts), size):
        part = prompts[start : start + size]
        pictures += list(
            pipeline(
                prompt=part,
                num_inference_steps=steps,
                guidance_scale=guidance,
                height=128,
                width=128,
                use_resolution_binning=False,
                clean_caption=False,
                max_sequence_length=64,
                generator=[torch.Generator().manual_seed(first_seed + start + index) for index in range(len(part))],
                output_type="np",
            ).images
        )
    return [(picture * 255).round().astype("uint8") for picture in pictures]
