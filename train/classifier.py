"""A small convolutional judge, independent of the generator: which subject, and on which background colour.

It sees 64 x 64 pixels: a whole picture at half size, or one half of a pair at full size. It learns from rendered scenes with
shifts, scales, blur, noise and colour changes, held-out combinations included, since it judges them. Saved as classifier.pt.

usage: python train/classifier.py [--steps N]
"""

import argparse

import numpy
import torch
from torch import nn
from torch.nn import functional

import dataset
from state import FOLDER, Run, prepare, set_rate


class Judge(nn.Module):
    """[n, 3, 64, 64] in -1..1 to logits of subjects and of colours."""

    def __init__(self, widths=(32, 64, 128, 192)):
        super().__init__()
        layers, before = [], 3
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1, groups=8)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        self.body = nn.Sequential(*layers)
        self.subject = nn.Linear(before * 16, len(dataset.SUBJECTS))
        self.colour = nn.Linear(before * 16, len(dataset.COLOURS))

    def forward(self, pictures):
        features = self.body(pictures).flatten(1)
        return self.subject(features), self.colour(features)


def batch(generator, size):
    """Single subjects of 44 to 62 of 64 pixels, damaged in ways that no generator's own faults were consulted for."""
    pictures, subjects, colours = [], [], []
    for _ in range(size):
        subject, colour = int(generator.integers(len(dataset.SUBJECTS))), int(generator.integers(len(dataset.COLOURS)))
        pixels = int(generator.integers(22, 32)) * 4
        slack = max(4, (dataset.SIZE - pixels) // 2)
        shift = tuple(int(v) for v in generator.integers(-slack, slack + 1, 2))
        picture = dataset.render(dataset.centred("centre", subject, dataset.COLOUR_NAMES[colour], pixels, shift=shift))
        pictures.append(picture), subjects.append(subject), colours.append(colour)
    pixels = functional.avg_pool2d(dataset.to_pixels(numpy.stack(pictures)), 2)
    gain = torch.from_numpy(generator.normal(1, 0.04, (size, 3, 1, 1))).float()
    shift = torch.from_numpy(generator.normal(0, 0.03, (size, 3, 1, 1))).float()
    pixels = pixels * gain + shift
    blurred = functional.avg_pool2d(functional.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = torch.from_numpy(generator.random((size, 1, 1, 1)) * (generator.random((size, 1, 1, 1)) < 0.5)).float()
    pixels = pixels + share * (blurred - pixels)
    pixels = pixels + torch.from_numpy(generator.normal(0, 1, pixels.shape) * generator.random((size, 1, 1, 1)) * 0.1).float()
    return pixels.clamp(-1, 1), torch.tensor(subjects), torch.tensor(colours)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=8)
    args = parser.parse_args()
    prepare(args.threads, args.seed)
    judge = Judge()
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.01)
    generator = numpy.random.default_rng(args.seed)
    run = Run("classifier", args.steps, {"judge": judge, "optimizer": optimizer}, generator)

    def one_step(step):
        judge.train()
        set_rate(optimizer, 2e-3 * min(1, (step + 1) / 50) * (1 - step / args.steps) + 1e-6)
        pictures, subjects, colours = batch(generator, 64)
        got = judge(pictures)
        loss = functional.cross_entropy(got[0], subjects, label_smoothing=0.05) + functional.cross_entropy(got[1], colours, label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    @torch.no_grad()
    def report(step):
        judge.eval()
        pictures, subjects, colours = batch(numpy.random.default_rng(77), 1000)
        got = judge(pictures)
        right = [(g.argmax(1) == w).float().mean().item() for g, w in zip(got, (subjects, colours), strict=True)]
        run.log(f"step {step}: {right[0]:.1%} of subjects, {right[1]:.1%} of colours right on 1000 fresh damaged pictures")
        torch.save(judge.state_dict(), FOLDER / "judge.pt")

    run.train(one_step, report, every=250)


def load():
    judge = Judge()
    judge.load_state_dict(torch.load(FOLDER / "judge.pt"))
    return judge.eval()


if __name__ == "__main__":
    main()
