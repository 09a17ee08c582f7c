"""Encodes every training scene once and keeps the latents with their captions: FOLDER/latents.pt. About two minutes.

The VAE is kept beside them as vae-of-latents, since the transformer's pictures can be decoded by this one (or its polished
decoder) alone.

usage: python train/latents.py [--vae FOLDER]
"""

import argparse
import shutil

import numpy
import torch
from diffusers import AutoencoderKL

import dataset
from state import FOLDER, prepare


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", default=FOLDER / "vae")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    prepare(args.threads, args.seed)
    vae = AutoencoderKL.from_pretrained(args.vae).float().to(memory_format=torch.channels_last)
    scenes = dataset.training_scenes(args.seed)
    latents = []
    for start in range(0, len(scenes), 32):
        pictures = numpy.stack([dataset.render(scene) for scene in scenes[start : start + 32]])
        pixels = torch.from_numpy(dataset.to_tensor_range(pictures)).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            encoded = vae.encode(pixels).latent_dist.mode()
        latents.append(encoded.float().contiguous().half())
    kinds = {kind: [i for i, scene in enumerate(scenes) if scene.kind == kind] for kind in dataset.KINDS}
    torch.save({"latents": torch.cat(latents), "captions": [dataset.captions(scene) for scene in scenes], "kinds": kinds}, FOLDER / "latents.pt")
    vae.save_pretrained(FOLDER / "vae-of-latents")
    shutil.rmtree(FOLDER / "vae-polished", ignore_errors=True)
    everything = torch.cat(latents).float()
    print(f"{len(scenes)} scenes; mean {everything.mean((0, 2, 3)).tolist()}, deviation {everything.std((0, 2, 3)).tolist()}")


if __name__ == "__main__":
    main()
