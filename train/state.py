"""Where training keeps its state, and how a run survives a stop: every script here saves its whole state (weights, their moving
average, optimizer, random numbers, step, seconds spent) into one file and goes on from it when started again.

The folder is $HALFTONE_TRAIN_DIR, by default ~/.cache/halftone-train; nothing in it belongs to the repository.
"""

import json
import math
import os
import random
import signal
import time
from pathlib import Path

import numpy
import torch

FOLDER = Path(os.environ.get("HALFTONE_TRAIN_DIR", Path.home() / ".cache" / "halftone-train"))
DEMO = Path(__file__).resolve().parent.parent / "models" / "demo"


def prepare(threads, seed, device="cpu"):
    """Seeds every source of random numbers; one thread by default, since a waiting thread spins when other programs need the cores."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(device == "cpu", warn_only=True)
    torch.backends.cudnn.benchmark = True
    torch.utils.deterministic.fill_uninitialized_memory = False
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


class Average:
    """The moving average of a module's weights, which is what gets shipped; young averages follow faster."""

    def __init__(self, parameters, rate):
        self.parameters, self.rate, self.count = list(parameters), rate, 0
        self.values = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self):
        self.count += 1
        rate = min(self.rate, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters], 1 - rate)

    @torch.no_grad()
    def swap(self):
        """Puts the average in the module's place and keeps the module's weights; called again, it takes that back."""
        for value, parameter in zip(self.values, self.parameters, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(kept)

    def state_dict(self):
        return {"values": self.values, "count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]
        for value, saved in zip(self.values, state["values"], strict=True):
            value.copy_(saved)


class Run:
    """One training run by name: its log, its checkpoint, the schedule of its steps and a clean end at SIGTERM and SIGINT."""

    def __init__(self, name, steps, parts, generator, origin="nothing", device="cpu", minutes=None, save_every=120):
        self.origin = origin  # what the weights began with, for the card
        self.name, self.steps, self.parts, self.generator, self.save_every = name, steps, parts, generator, save_every
        # processor time, so that pauses and other people's work do not count; a GPU has none
        self.clock = time.process_time if device == "cpu" else time.monotonic
        self.hardware = torch.cuda.get_device_name() if device == "cuda" else "one core"
        self.step, self.seconds, self.most_seconds, self.stopping = 0, 0.0, 60 * minutes if minutes else math.inf, False
        self.file = FOLDER / f"{name}.pt"
        (FOLDER / f"{name}.pid").write_text(f"{os.getpid()}\n")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        if self.file.exists():
            saved = torch.load(self.file, weights_only=False, map_location="cpu")
            for key, part in parts.items():
                part.load_state_dict(saved["parts"][key])
            generator.bit_generator.state = saved["numpy"]
            set_random_state(saved["torch"])
            self.step, self.seconds, self.origin = saved["step"], saved["seconds"], saved.get("origin", origin)
        self.log(f"start at step {self.step} of {steps}, {self.seconds:.0f} s so far, {torch.get_num_threads()} thread(s)")

    def done(self):
        """What share of the run is over, 0..1: of its steps, or of its minutes where those end first."""
        return max(self.step / self.steps, self.seconds / self.most_seconds)

    def _stop(self, *_):
        self.stopping = True

    def log(self, text):
        line = f"{time.strftime('%H:%M:%S')} {self.name} {text}"
        print(line, flush=True)
        with (FOLDER / f"{self.name}.txt").open("a") as file:
            file.write(line + "\n")

    def save(self):
        state = {
            "parts": {key: part.state_dict() for key, part in self.parts.items()},
            "numpy": self.generator.bit_generator.state,
            "torch": random_state(),
            "step": self.step,
            "seconds": self.seconds,
            "origin": self.origin,
        }
        costs = {"steps": self.step, "seconds": round(self.seconds), "hardware": self.hardware, "origin": self.origin}
        self.file.with_suffix(".json").write_text(json.dumps(costs) + "\n")  # what assemble.py puts into the card
        temporary = self.file.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(self.file)

    def train(self, one_step, report, every):
        """Calls one_step(step), which returns the loss as a tensor, until the run is done; report(step) every `every` steps and at the end."""
        saved, losses = time.monotonic(), []
        while self.done() < 1 and not self.stopping:
            started = self.clock()
            losses.append(one_step(self.step).detach())
            self.step += 1
            if self.step % 50 == 0:
                mean = torch.stack(losses).mean().item()  # asked for now and then only, since a GPU's steps are waited for here
            self.seconds += self.clock() - started
            if self.step % 50 == 0:
                self.log(f"step {self.step} loss {mean:.4f} at {self.seconds:.0f} s")
                losses = []
            if time.monotonic() - saved > self.save_every:
                self.save()
                saved = time.monotonic()
            if self.step % every == 0:
                report(self.step)
        self.save()
        if not self.stopping and self.step % every:
            report(self.step)
        self.log(f"stop at step {self.step}, {self.seconds:.0f} s in all")


def random_state():
    """Of torch's generators, the GPU's included."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def set_random_state(state):
    torch.set_rng_state(state["cpu"])
    torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])


def set_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate


def split_decay(modules, weight_decay):
    """Matrices decay, biases and norms do not."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
