"""Times calls of PixArt's transformer with diffusers and Quanto, a round whenever it is told to: the other side of bench/fast.ts.

The first blocks of the checkpoint's transformer, 512 x 512, batch 2, in three ways: float32, Quanto int8 calculating in float32, and in bfloat16.
For every line on stdin one round is run and one line of JSON printed: seconds of each way.

usage: python reference/step_time.py MODEL [--blocks 4] [--size 512] [--threads 2]
"""

import argparse
import json
import sys
import time

import torch
from diffusers import PixArtTransformer2DModel
from optimum.quanto import freeze, qint8, quantize

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--blocks", type=int, default=4)
parser.add_argument("--size", type=int, default=512)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()
torch.set_num_threads(options.threads)
torch.manual_seed(0)


def load(dtype, quantized):
    model = PixArtTransformer2DModel.from_pretrained(options.model, subfolder="transformer", torch_dtype=dtype)
    model.transformer_blocks = model.transformer_blocks[: options.blocks]
    if quantized:
        quantize(model, weights=qint8)
        freeze(model)
    return model.eval()


WAYS = {
    "diffusers float32": (torch.float32, False),
    "diffusers + Quanto int8, float32": (torch.float32, True),
    "diffusers + Quanto int8, bfloat16": (torch.bfloat16, True),
}
models = {name: load(*way) for name, way in WAYS.items()}


@torch.no_grad()
def call(model):
    side = options.size // 8
    latents = torch.randn(2, 4, side, side, dtype=model.dtype)
    caption = torch.randn(2, 300, model.config.caption_channels, dtype=model.dtype)
    started = time.perf_counter()
    model(
        latents,
        encoder_hidden_states=caption,
        timestep=torch.tensor([500, 500]),
        encoder_attention_mask=torch.ones(2, 300),
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
    )
    return time.perf_counter() - started


for _ in sys.stdin:
    print(json.dumps({name: call(model) for name, model in models.items()}), flush=True)
