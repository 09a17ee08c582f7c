"""Trains the AutoencoderKL (f8, 8 latent channels) on rendered scenes.

Two stages. `train` learns encoder and decoder together and then whitens the latents exactly, inside quant_conv and
post_quant_conv, so scaling_factor is 1. `polish` keeps the encoder fixed, so that latents and a transformer trained on them
stay valid, and sharpens the decoder alone, with more weight on edges.

Without --warm-start, `train` begins from nothing; with it, from another VAE of the same shape.

usage: python train/vae.py train|polish [--steps N] [--warm-start FOLDER]
"""

import argparse
import copy
import math

import numpy
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

import dataset
from state import FOLDER, Average, Run, prepare, set_rate, split_decay

LATENTS = 8  # channels; with 4, thin lines are lost
NOISE = 0.08  # added to latents in training: the decoder must bear what a transformer gets slightly wrong


def new_vae():
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 48, 64, 96),
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=4,  # groups of 2 channels lose the colours for good
        sample_size=dataset.SIZE,
        scaling_factor=1.0,
    )


def random_scene(generator):
    """Any scene of training, and sizes and places between them; shifts that are no multiple of 8 teach all phases of an edge."""
    colour = dataset.COLOUR_NAMES[generator.integers(len(dataset.COLOUR_NAMES))]
    first, second = (int(v) for v in generator.choice(len(dataset.SUBJECTS), 2, replace=False))
    shift = tuple(int(v) for v in generator.integers(-8, 9, 2))
    kind = generator.random()
    if kind < 0.6:
        return dataset.centred("centre", first, colour, dataset.CENTRE, shift=shift)
    if kind < 0.7:
        return dataset.centred("size", first, colour, dataset.BIG, shift=(shift[0] // 3, shift[1] // 3))
    if kind < 0.75:
        return dataset.centred("size", first, colour, dataset.SMALL, shift=shift)
    return dataset.pair(first, second, colour, (shift[0] // 3, shift[1] // 3))


def scenes(seed, count):
    generator = numpy.random.default_rng(seed)
    return [random_scene(generator) for _ in range(count)]


class Batches:
    """Draws of a pool of rendered scenes, one in five mirrored."""

    def __init__(self, pictures, generator, device):
        self.pictures, self.generator, self.device = torch.from_numpy(pictures).to(device), generator, device

    def draw(self, size):
        chosen = torch.from_numpy(self.generator.integers(len(self.pictures), size=size)).to(self.device)
        mirrored = torch.from_numpy(self.generator.random(size) < 0.2).to(self.device)[:, None, None, None]
        pixels = dataset.to_pixels(self.pictures[chosen])
        return torch.where(mirrored, pixels.flip(3), pixels)


def edges(pictures):
    return pictures[..., 1:, :-1] - pictures[..., :-1, :-1], pictures[..., :-1, 1:] - pictures[..., :-1, :-1]


def reconstruction_loss(got, want, edge_weight):
    """L1, L1 of averages over 2 to 16 pixels (colours come early), L1 of gradients, a little MSE; edges of the drawing count more."""
    down, across = edges(want)
    weight = functional.pad((down.abs() + across.abs()).amax(1, keepdim=True), (0, 1, 0, 1))
    weight = 1 + edge_weight * functional.max_pool2d(weight, 3, 1, 1).clamp(max=1)
    weight = weight / weight.mean()
    difference = got - want
    loss = (difference.abs() * weight).mean() + 0.25 * (difference.square() * weight).mean()
    for size in (2, 4, 8, 16):
        loss = loss + 0.5 * functional.avg_pool2d(difference, size).abs().mean()
    return loss + sum((a - b).abs().mean() for a, b in zip(edges(got), (down, across), strict=True))


@torch.no_grad()
def whiten(vae, pictures):
    """Makes every latent channel of these pictures mean 0 and deviation 1, exactly, and takes it back in front of the decoder."""
    latents = torch.cat([vae.encode(part).latent_dist.mode() for part in pictures.split(16)]).double()
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    out, back, n = vae.quant_conv, vae.post_quant_conv, vae.config.latent_channels
    weight, bias = out.weight.double(), out.bias.double()
    weight[:n] /= deviation[:, None, None, None]
    bias[:n] = (bias[:n] - mean) / deviation
    bias[n:] = -30  # log variance: the encoder's distribution is a point
    weight[n:] = 0
    inner = back.weight.double()
    back.bias.copy_(back.bias.double() + (inner[:, :, 0, 0] @ mean))
    back.weight.copy_(inner * deviation[None, :, None, None])
    out.weight.copy_(weight)
    out.bias.copy_(bias)


@torch.no_grad()
def error(vae, pictures):
    return sum((vae.decode(vae.encode(p).latent_dist.mode()).sample - p).abs().mean().item() for p in pictures.split(8)) / len(pictures.split(8))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["train", "polish"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float, help="an end before the last step, which the rate's schedule follows")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pool", type=int, default=20000, help="pictures rendered beforehand, 49 kB each")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--processes", type=int, default=1, help="that render")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--edges", type=float, default=3, help="how much more an edge of a drawing counts")
    parser.add_argument("--report", type=int, default=250)
    parser.add_argument("--warm-start", help="a diffusers VAE folder to start from (polish: the VAE of the latents)")
    args = parser.parse_args()
    polish = args.stage == "polish"
    steps, top = args.steps or (8000 if polish else 12000), args.rate or (4e-4 if polish else 8e-4)
    prepare(args.threads, args.seed, args.device)
    pool = dataset.render_all(scenes(args.seed, args.pool), args.processes)
    samples = dataset.to_pixels(dataset.render_all(scenes(99, 24))).to(args.device)
    whitening = dataset.to_pixels(dataset.render_all(scenes(7, 512))).to(args.device)
    vae = AutoencoderKL.from_pretrained(args.warm_start or FOLDER / "vae-of-latents").float() if polish or args.warm_start else new_vae()
    vae = vae.to(args.device, memory_format=torch.channels_last)
    if polish:
        for module in (vae.encoder, vae.quant_conv):
            module.requires_grad_(False)
    trained = [vae.decoder, vae.post_quant_conv] if polish else [vae]
    optimizer = torch.optim.AdamW(split_decay(trained, 0.0), lr=top, betas=(0.9, 0.99), fused=True)
    average = Average([p for module in trained for p in module.parameters()], 0.999)
    generator = numpy.random.default_rng(args.seed)
    origin = args.warm_start or ("the VAE of the latents" if polish else "nothing")
    run = Run(f"vae-{args.stage}", steps, {"vae": vae, "optimizer": optimizer, "average": average}, generator, origin, args.device, args.minutes)
    batches = Batches(pool, generator, args.device)

    def one_step(step):
        warm = min(1, (step + 1) / 100)
        set_rate(optimizer, 1e-5 + (top - 1e-5) * warm * (1 + math.cos(math.pi * run.done())) / 2)
        pictures = batches.draw(args.batch)
        with torch.autocast(args.device, torch.bfloat16):
            with torch.set_grad_enabled(not polish):
                latents = vae.encode(pictures).latent_dist.mode().float()
            got = vae.decode(latents + NOISE * latents.detach().std() * torch.randn_like(latents)).sample.float()
        loss = reconstruction_loss(got, pictures, args.edges)
        total = loss if polish else loss + 0.001 * latents.square().mean()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()
        average.update()
        return loss

    @torch.no_grad()
    def report(step):
        average.swap()
        with torch.autocast(args.device, torch.bfloat16):
            got = vae.decode(vae.encode(samples).latent_dist.mode()).sample.float()
        run.log(f"step {step} mean error {(got - samples).abs().mean():.4f}")
        both = torch.stack([samples, got], 1).flatten(0, 1).clamp(-1, 1)
        pictures = ((both + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        dataset.grid(list(pictures), 12, FOLDER / f"vae-{args.stage}.png")
        # the state so far, so that latents and assembly can go on before the end
        if polish:
            vae.save_pretrained(FOLDER / "vae-polished")
        elif step % (2 * args.report) == 0:
            whitened = copy.deepcopy(vae)
            whiten(whitened, whitening)
            whitened.save_pretrained(FOLDER / "vae")
        average.swap()

    run.train(one_step, report, every=args.report)
    if not polish and not run.stopping:
        average.swap()
        whiten(vae, whitening)
        run.log(f"whitened; mean error in float32 {error(vae, samples):.4f}")
        vae.save_pretrained(FOLDER / "vae")


if __name__ == "__main__":
    main()
