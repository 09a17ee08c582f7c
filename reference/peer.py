"""diffusers, and diffusers + Quanto, for `halftone bench --peers`: makes the same pictures part by part and prints what it cost as one JSON line.

The text encoders are loaded, quantized, used and dropped before the transformer and the VAE are loaded, as diffusers' guide for little
memory says; what is named in --qtype goes through Quanto's quantize() and freeze(). Seconds of loading, quantizing, every phase and every
step; the peak of resident memory (anonymous, and with mapped files) in each phase, sampled from /proc every 20 ms. An error is one line.

usage: python reference/peer.py MODEL [--dtype float32] [--t5-dtype D] [--qtype SPEC] [--exclude PATTERN]... [--fuse-qkv] [--images N]
       [--height H] [--width W] [--steps N] [--guidance-scale X] [--prompt TEXT] [--seed N] [--threads N] [--variant V] [--revision R]
       [--offline] [--output FILE.png]
PixArt-α, PixArt-Σ, Stable Diffusion 3 and AuraFlow; MODEL is a folder or a Hub id.
"""

import argparse
import fnmatch
import gc
import json
import os
import sys
import threading
import time
from pathlib import Path

PROMPT = "a small cactus with a happy face in the Sahara desert"
DTYPES = ("float32", "float16", "bfloat16")
T5_CLASSES = ("T5EncoderModel", "UMT5EncoderModel")
# What encode_prompt() returns, by the names under which the pipeline takes it.
PIXART = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
SD3 = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
CONDITIONING = {"PixArtAlphaPipeline": PIXART, "PixArtSigmaPipeline": PIXART, "AuraFlowPipeline": PIXART, "StableDiffusion3Pipeline": SD3}
# Defaults that are not halftone's: pictures in the size that was asked for, captions as they are.
CALL = {
    "PixArtAlphaPipeline": {"negative_prompt": None, "use_resolution_binning": False},
    "PixArtSigmaPipeline": {"negative_prompt": None, "use_resolution_binning": False},
}


def memory():
    """Returns (anonymous, all) resident bytes of this process, or None where the system does not tell."""
    fields = {}
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("RssAnon", "RssFile", "RssShmem"):
                fields[name] = int(value.split()[0]) * 1024
    except OSError:
        return None
    return (fields["RssAnon"], sum(fields.values())) if "RssAnon" in fields else None


class Phases:
    """Times phases and samples memory during each; `with phases("encode"):`."""

    def __init__(self):
        self.rows, self.current = [], None
        threading.Thread(target=self.sample, daemon=True).start()

    def sample(self):
        while True:
            self.note()
            time.sleep(0.02)

    def note(self):
        row, now = self.current, memory()
        if row is not None and now is not None:
            for name, value in zip(("peakAnonymousBytes", "peakResidentBytes"), now, strict=True):
                row[name] = max(row.get(name, 0), value)

    def __call__(self, name):
        self.row = {"phase": name, "seconds": 0.0}
        return self

    def __enter__(self):
        self.started, self.current = time.monotonic(), self.row
        self.note()

    def __exit__(self, *_error):
        self.note()
        self.current["seconds"] = time.monotonic() - self.started
        self.rows.append(self.current)
        self.current = None

    def seconds(self, name):
        """Returns what all phases of this name took."""
        return sum(row["seconds"] for row in self.rows if row["phase"] == name)

    def named(self, *names):
        """Returns the phases of these names."""
        return [row for row in self.rows if row["phase"] in names]


def qtype_of(spec, part):
    """Returns the qtype of a part in halftone's --qtype: a bare one is for all; of pairs an exact name wins, then the longest pattern."""
    best = None
    for item in (spec or "").split(","):
        pattern, _, qtype = item.strip().rpartition("=")
        if ":" in pattern:
            raise ValueError(f'the peer quantizes whole parts, so it cannot do "{item.strip()}"')
        rank = (pattern == part, len(pattern))
        if qtype and fnmatch.fnmatchcase(part, pattern or "*") and (best is None or rank >= best[0]):
            best = rank, qtype
    return None if best is None else best[1]


def quantize_part(name, model, arguments, phases):
    """Quantizes a part as Quanto's users do, if the spec names it."""
    qtype = qtype_of(arguments.qtype, name)
    if qtype is None or model is None:
        return
    from optimum.quanto import freeze, quantize

    with phases("quantize"):
        quantize(model, weights=qtype, exclude=arguments.exclude)
        freeze(model)
        gc.collect()


def weight_bytes(model):
    """Returns the bytes of a model's weights as they lie in memory: packed ones packed, those that have two names once."""
    return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()}.values())


class Peer:
    """One run: encode(), then denoise(), then decode()."""

    def __init__(self, arguments):
        self.arguments, self.phases, self.weights = arguments, Phases(), {}
        self.source = {"revision": arguments.revision, "local_files_only": arguments.offline}
        self.config = DiffusionPipeline.load_config(arguments.model, **self.source)
        self.name = self.config["_class_name"]
        if self.name not in CONDITIONING:
            raise ValueError(f"the peer runs {', '.join(CONDITIONING)}, and this is {self.name}")
        parts = [name for name, value in self.config.items() if isinstance(value, list) and value[0] is not None]
        self.encoders = [name for name in parts if name.startswith("text_encoder")]
        self.tokenizers = [name for name in parts if name.startswith("tokenizer")]
        self.dtype = getattr(torch, arguments.dtype)

    def load(self, leave_out):
        dtypes = {"default": self.dtype}
        if self.arguments.t5_dtype:
            t5 = [name for name in self.encoders if self.config[name][1] in T5_CLASSES and name not in leave_out]
            dtypes |= {name: getattr(torch, self.arguments.t5_dtype) for name in t5}
        without = {name: None for name in leave_out}
        pipeline = DiffusionPipeline.from_pretrained(
            self.arguments.model, dtype=dtypes, variant=self.arguments.variant, **without, **self.source
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def encode(self):
        with self.phases("load"):
            pipeline = self.load(["transformer", "vae"])
        for name in self.encoders:
            quantize_part(name, getattr(pipeline, name), self.arguments, self.phases)
            self.weights[name] = weight_bytes(getattr(pipeline, name))
        others = {"prompt_2": None, "prompt_3": None} if self.name == "StableDiffusion3Pipeline" else {}
        with self.phases("encode"):
            found = pipeline.encode_prompt(
                self.arguments.prompt, **others, do_classifier_free_guidance=self.arguments.guidance_scale > 1
            )
        self.conditioning = dict(zip(CONDITIONING[self.name], found, strict=True))
        with self.phases("load"):
            for name in self.encoders:
                setattr(pipeline, name, None)
            del pipeline
            gc.collect()

    def denoise(self):
        arguments = self.arguments
        with self.phases("load"):
            self.pipeline = pipeline = self.load([*self.encoders, *self.tokenizers])
            if arguments.fuse_qkv:
                pipeline.transformer.fuse_qkv_projections()
        quantize_part("transformer", pipeline.transformer, arguments, self.phases)
        self.weights |= {name: weight_bytes(getattr(pipeline, name)) for name in ("transformer", "vae")}
        marks, take_step = [], pipeline.scheduler.step

        def marked_step(*args, **kwargs):
            result = take_step(*args, **kwargs)
            marks.append(time.monotonic())
            return result

        pipeline.scheduler.step = marked_step
        embeds = {k: v.to(self.dtype) if v is not None and v.is_floating_point() else v for k, v in self.conditioning.items()}
        with self.phases("denoise"):
            marks.append(time.monotonic())
            self.latents = pipeline(
                prompt=None,
                **CALL.get(self.name, {}),
                **embeds,
                num_inference_steps=arguments.steps,
                guidance_scale=arguments.guidance_scale,
                num_images_per_prompt=arguments.images,
                height=arguments.height,
                width=arguments.width,
                generator=torch.Generator("cpu").manual_seed(arguments.seed),
                output_type="latent",
            ).images
        self.step_seconds = [after - before for before, after in zip(marks, marks[1:], strict=False)]

    def decode(self):
        vae = self.pipeline.vae
        with self.phases("decode"):
            latents = self.latents.to(vae.dtype) / vae.config.scaling_factor + (vae.config.shift_factor or 0)
            decoded = vae.decode(latents, return_dict=False)[0]
            return self.pipeline.image_processor.postprocess(decoded, output_type="pil")

    def report(self):
        names = ("peakAnonymousBytes", "peakResidentBytes")
        peaks = {name: max(row[name] for row in self.phases.rows) for name in names if name in self.phases.rows[0]}
        return {
            "name": "diffusers",
            "versions": versions(),
            "loadSeconds": self.phases.seconds("load"),
            "quantizeSeconds": self.phases.seconds("quantize"),
            "phases": self.phases.named("encode", "denoise", "decode"),
            "stepSeconds": self.step_seconds,
            "weightBytes": self.weights,
            **peaks,
        }


def versions():
    """Returns the versions of the libraries that decide time and memory."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "diffusers", "transformers", "optimum-quanto")}


def parse():
    parser = argparse.ArgumentParser(description="Runs diffusers, with Quanto if asked, and reports seconds and memory as JSON.")
    parser.add_argument("model", help="a diffusers folder or a Hub id")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--t5-dtype", choices=DTYPES, help="of T5 and UMT5, where they do not fit into memory otherwise")
    parser.add_argument("--qtype", help="as halftone takes it, for whole parts")
    parser.add_argument("--exclude", action="append")
    parser.add_argument("--fuse-qkv", action="store_true")
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--height", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance-scale", type=float, default=4.5)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--variant")
    parser.add_argument("--revision")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--output", type=Path, help="also write the first picture")
    return parser.parse_args()


def main():
    global torch, DiffusionPipeline
    arguments = parse()
    if arguments.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    import diffusers
    import torch
    import transformers
    from diffusers import DiffusionPipeline

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    peer = Peer(arguments)
    peer.encode()
    peer.denoise()
    pictures = peer.decode()
    if arguments.output:
        pictures[0].save(arguments.output)
    print(json.dumps(peer.report()))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
