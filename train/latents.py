"""Encodes every training scene once and keeps the latents with their captions: FOLDER/latents.pt. About two minutes.

The VAE is kept beside them as vae-of-latents, since the transformer's pictures can be decoded by this one (or its polished
decoder) alone.

usage: python train/latents.py [--vae FOLDER]
"""

import argparse
import itertools
import shutil

import torch
from diffusers import AutoencoderKL

import dataset
from state import FOLDER, prepare


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", default=FOLDER / "vae")
    parser.add_argument("--shifts", type=int, default=4, help="places of each subject on each colour")
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="that render")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    prepare(args.threads, args.seed, args.device)
    scenes = dataset.training_scenes(args.seed, args.shifts, args.pairs)
    # rendered at once where processes share the work, else a few at a time, which takes less memory
    size = len(scenes) if args.processes > 1 else 32
    groups = (dataset.render_all(scenes[start : start + size], args.processes) for start in range(0, len(scenes), size))
    first = next(groups)  # before the GPU is touched
    vae = AutoencoderKL.from_pretrained(args.vae).float().to(args.device, memory_format=torch.channels_last)
    latents = []
    for pictures in itertools.chain([first], groups):
        for part in torch.from_numpy(pictures).split(32 if args.device == "cpu" else 512):
            with torch.autocast(args.device, torch.bfloat16):
                encoded = vae.encode(dataset.to_pixels(part.to(args.device))).latent_dist.mode()
            latents.append(encoded.float().contiguous().half().cpu())
    kinds = {kind: [i for i, scene in enumerate(scenes) if scene.kind == kind] for kind in dataset.KINDS}
    torch.save({"latents": torch.cat(latents), "captions": [dataset.captions(scene) for scene in scenes], "kinds": kinds}, FOLDER / "latents.pt")
    vae.save_pretrained(FOLDER / "vae-of-latents")
    shutil.rmtree(FOLDER / "vae-polished", ignore_errors=True)
    everything = torch.cat(latents).float()
    print(f"{len(scenes)} scenes; mean {everything.mean((0, 2, 3)).tolist()}, deviation {everything.std((0, 2, 3)).tolist()}")


if __name__ == "__main__":
    main()
