"""Where training keeps its state, and how a run survives a stop: every script here saves its whole state (weights, their moving
average, optimizer, random numbers, step, seconds spent) into one file and goes on from it when started again.

The folder is $HALFTONE_TRAIN_DIR, by default ~/.cache/halftone-train; nothing in it belongs to the repository.
"""

import os
import random
import signal
import time
from pathlib import Path

import numpy
import torch

FOLDER = Path(os.environ.get("HALFTONE_TRAIN_DIR", Path.home() / ".cache" / "halftone-train"))
DEMO = Path(__file__).resolve().parent.parent / "models" / "demo"


def prepare(threads, seed):
    """Seeds every source of random numbers; one thread by default, since a waiting thread spins when other programs need the cores."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
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

    def __init__(self, name, steps, parts, generator, origin="nothing", save_every=120):
        self.origin = origin  # what the weights began with, for the card
        self.name, self.steps, self.parts, self.generator, self.save_every = name, steps, parts, generator, save_every
        self.step, self.seconds, self.stopping = 0, 0.0, False
        self.file = FOLDER / f"{name}.pt"
        (FOLDER / f"{name}.pid").write_text(f"{os.getpid()}\n")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        if self.file.exists():
            saved = torch.load(self.file, weights_only=False)
            for key, part in parts.items():
                part.load_state_dict(saved["parts"][key])
            generator.bit_generator.state = saved["numpy"]
            torch.set_rng_state(saved["torch"])
            self.step, self.seconds, self.origin = saved["step"], saved["seconds"], saved.get("origin", origin)
        self.log(f"start at step {self.step} of {steps}, {self.seconds:.0f} s so far, {torch.get_num_threads()} thread(s)")

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
            "torch": torch.get_rng_state(),
            "step": self.step,
            "seconds": self.seconds,
            "origin": self.origin,
        }
        temporary = self.file.with_suffix(".part")
        torch.save(state, temporary)
        temporary.replace(self.file)

    def train(self, one_step, report, every):
        """Calls one_step(step), which returns the loss, until all steps are done; report(step) every `every` steps and at the end."""
        saved, losses = time.monotonic(), []
        while self.step < self.steps and not self.stopping:
            # processor time, so that pauses and other people's work do not count
            started = time.process_time()
            losses.append(one_step(self.step))
            self.step += 1
            self.seconds += time.process_time() - started
            if self.step % 50 == 0:
                self.log(f"step {self.step} loss {numpy.mean(losses):.4f} at {self.seconds:.0f} s")
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
