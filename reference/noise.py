"""Noise of torch's CPU generator, for src/random: python reference/noise.py writes test/fixtures/noise.

Each case is one generator and the draws made from it in turn; a draw is kept whole (widened to float32), or, when it is long, as the
SHA-256 of its float32 bytes and every `stride`-th value. Run it on a processor with AVX2: without, torch computes other last bits.
"""

import hashlib

import torch
from fixtures import DTYPES, FIXTURES, generator, versions, write_json
from safetensors.torch import save_file

WHOLE = 4096
SAMPLES = 500
SEEDS = [0, 1, 42, 2024, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 42, 2**53 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -1, -42, -(2**31), -(2**63)]


def case_list():
    """Returns [(name, seed, [(shape, dtype), ..])]."""
    cases = []
    for dtype in DTYPES:
        cases += [(f"size {size} {dtype}", 7, [([size], dtype)]) for size in range(0, 41)]
        cases += [(f"seed {seed} {dtype}", seed, [([5], dtype), ([16], dtype), ([2, 3, 7], dtype)]) for seed in SEEDS]
        cases += [
            (f"long {dtype}", 11, [([1000003], dtype), ([3], dtype)]),
            (f"latents 64 {dtype}", 0, [([1, 4, 64, 64], dtype)]),
            (f"latents 128 {dtype}", 1234567, [([2, 4, 128, 128], dtype)]),
            (f"latents 16 channels {dtype}", 8, [([1, 16, 90, 66], dtype)]),
            (f"latents of two images in turn {dtype}", 3, [([1, 4, 36, 52], dtype)] * 2),
            (f"latents of odd sides {dtype}", 5, [([1, 3, 17, 23], dtype), ([1, 4, 9, 9], dtype)]),
            (f"spare value waits over long draws {dtype}", 6, [([3], dtype), ([40], dtype), ([16], dtype), ([1], dtype), ([17], dtype), ([2], dtype)]),
            (f"empty and scalar shapes {dtype}", 9, [([0], dtype), ([], dtype), ([4, 0, 2], dtype), ([1], dtype), ([2, 2, 2, 2], dtype)]),
        ]
    mixed = ["float32", "bfloat16", "float16"]
    sizes = [1, 31, 2, 16, 15, 17, 3, 33, 48, 7, 100, 5]
    cases.append(("dtypes in turn", 77, [([size], mixed[i % 3]) for i, size in enumerate(sizes)]))
    cases.append(("dtypes in turn, other order", 78, [([size], mixed[(i + 1) % 3]) for i, size in enumerate(sizes[::-1])]))
    cases.append(("every remainder in turn", 79, [([16 + i], mixed[i % 3]) for i in range(48)]))
    return cases


def main():
    """Draws all cases and writes them."""
    folder = FIXTURES / "noise"
    folder.mkdir(parents=True, exist_ok=True)
    stored, described = [], []
    for name, seed, draws in case_list():
        source = generator(seed)
        entry = {"name": name, "seed": str(seed), "draws": []}
        for shape, dtype in draws:
            noise = torch.randn(shape, generator=source, dtype=DTYPES[dtype]).float().flatten()
            stride = 1 if len(noise) <= WHOLE else len(noise) // SAMPLES
            kept = noise[::stride].clone()
            entry["draws"].append({"shape": shape, "dtype": dtype, "sha256": hashlib.sha256(noise.numpy().tobytes()).hexdigest(), "stride": stride, "kept": len(kept)})
            stored.append(kept)
        described.append(entry)
    save_file({"values": torch.cat(stored)}, folder / "noise.safetensors")
    about = {"script": "reference/noise.py", "seed": "per case", "versions": versions(), "cpuCapability": torch.backends.cpu.get_cpu_capability()}
    write_json(folder / "noise.json", {**about, "layout": "`values` holds the kept values of all draws, one after the other", "cases": described})


if __name__ == "__main__":
    main()
