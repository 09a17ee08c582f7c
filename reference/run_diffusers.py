"""Runs diffusers' PixArt-Σ pipeline on a checkpoint folder, part by part as its guide for little memory says, and reports what it cost.

The text encoder is loaded, used and dropped before the transformer and the VAE are loaded. JSON on stdout: seconds of every phase and
of every step, and the peak of resident memory (anonymous, and with mapped files) in each, sampled from /proc every 20 ms.

usage: python reference/run_diffusers.py DIR [--steps 2] [--height 512] [--width 512] [--dtype float32] [--t5-dtype bfloat16]
       [--guidance-scale 4.5] [--prompt TEXT] [--seed 0] [--threads N] [--output FILE.png]
"""

import argparse
import gc
import json
import platform
import threading
import time
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import PixArtSigmaPipeline
from transformers import T5EncoderModel

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def memory():
    """Returns (anonymous, all) resident bytes of this process."""
    fields = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile", "RssShmem", "VmHWM"):
            fields[name] = int(value.split()[0]) * 1024
    return fields["RssAnon"], fields["RssAnon"] + fields["RssFile"] + fields["RssShmem"]


class Phases:
    """Times phases and samples memory during each; `with phases("encode"):`."""

    def __init__(self):
        self.rows, self.current, self.running = [], None, True
        self.sampler = threading.Thread(target=self.sample, daemon=True)
        self.sampler.start()

    def sample(self):
        while self.running:
            self.note()
            time.sleep(0.02)

    def note(self):
        row, (anonymous, total) = self.current, memory()
        if row is not None:
            row["peakAnonymousBytes"] = max(row["peakAnonymousBytes"], anonymous)
            row["peakResidentBytes"] = max(row["peakResidentBytes"], total)

    def __call__(self, name):
        self.row = {"phase": name, "seconds": 0.0, "peakAnonymousBytes": 0, "peakResidentBytes": 0}
        return self

    def __enter__(self):
        self.started, self.current = time.monotonic(), self.row
        self.note()
        return self.row

    def __exit__(self, *_error):
        self.note()
        self.current["seconds"] = round(time.monotonic() - self.started, 3)
        self.rows.append(self.current)
        self.current = None


def processor():
    """Returns the processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description="Runs diffusers on a PixArt-Σ folder and reports seconds and memory as JSON.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32", help="of the transformer and the VAE")
    parser.add_argument("--t5-dtype", choices=sorted(DTYPES), default="bfloat16")
    parser.add_argument("--guidance-scale", type=float, default=4.5)
    parser.add_argument("--prompt", default="a small cactus with a happy face in the Sahara desert")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if arguments.threads > 0:
        torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()

    phases, dtype = Phases(), DTYPES[arguments.dtype]
    with phases("load text encoder"):
        text_encoder = T5EncoderModel.from_pretrained(arguments.folder / "text_encoder", torch_dtype=DTYPES[arguments.t5_dtype])
        pipeline = PixArtSigmaPipeline.from_pretrained(arguments.folder, text_encoder=text_encoder, transformer=None, vae=None)
    with phases("encode"):
        guided = arguments.guidance_scale > 1
        embeds, mask, negative, negative_mask = pipeline.encode_prompt(arguments.prompt, do_classifier_free_guidance=guided)
    with phases("free text encoder"):
        del text_encoder, pipeline
        gc.collect()
    with phases("load transformer and vae"):
        pipeline = PixArtSigmaPipeline.from_pretrained(arguments.folder, text_encoder=None, tokenizer=None, torch_dtype=dtype)
        pipeline.set_progress_bar_config(disable=True)
    marks = []
    with phases("denoise"):
        marks.append(time.monotonic())
        latents = pipeline(
            prompt_embeds=embeds.to(dtype),
            prompt_attention_mask=mask,
            negative_prompt=None,
            negative_prompt_embeds=None if negative is None else negative.to(dtype),
            negative_prompt_attention_mask=negative_mask,
            num_inference_steps=arguments.steps,
            guidance_scale=arguments.guidance_scale,
            height=arguments.height,
            width=arguments.width,
            use_resolution_binning=False,
            generator=torch.Generator("cpu").manual_seed(arguments.seed),
            output_type="latent",
            callback=lambda *_step: marks.append(time.monotonic()),
            callback_steps=1,
        ).images
    with phases("decode"):
        decoded = pipeline.vae.decode(latents.to(pipeline.vae.dtype) / pipeline.vae.config.scaling_factor, return_dict=False)[0]
        picture = pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
    phases.running = False
    if arguments.output:
        picture.save(arguments.output)
    report = {
        "folder": arguments.folder.name,
        "options": {key: value for key, value in vars(arguments).items() if key not in ("folder", "output")},
        "machine": {"processor": processor(), "threads": torch.get_num_threads()},
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__},
        "phases": phases.rows,
        "secondsPerStep": [round(after - before, 3) for before, after in zip(marks, marks[1:], strict=False)],
        "seconds": round(sum(row["seconds"] for row in phases.rows), 3),
        "peakAnonymousBytes": max(row["peakAnonymousBytes"] for row in phases.rows),
        "peakResidentBytes": max(row["peakResidentBytes"] for row in phases.rows),
        "finite": {
            "embeddings": bool(torch.isfinite(embeds.float()).all()),
            "latents": bool(torch.isfinite(latents.float()).all()),
            "picture": bool(torch.isfinite(decoded.float()).all()),
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
