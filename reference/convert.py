"""Casts between float32 and every stored dtype, as torch does them. Writes test/fixtures/convert/."""

import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import save_file

OUT = Path("test/fixtures/convert")
FLOAT8 = {name: getattr(torch, name) for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")}
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
SEED = 0


def neighbours(codes: torch.Tensor) -> torch.Tensor:
    """Every finite value of a dtype, the middles between neighbours, and the float32 numbers on either side of both."""
    values = codes.double()
    values = torch.unique(values[torch.isfinite(values)]) + 0.0  # one zero, a positive one
    middles = (values[1:] + values[:-1]) / 2
    points = torch.cat([values, middles]).float()
    return torch.cat([points, torch.nextafter(points, torch.tensor(np.inf)), torch.nextafter(points, torch.tensor(-np.inf))])


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}

    # Encoding to 8 bits: all values, ties and their neighbours, the edges of the range, random patterns.
    generator = torch.Generator().manual_seed(SEED)
    random = torch.randint(-(2**31), 2**31, (2048,), generator=generator).to(torch.int32).view(torch.float32)
    edges = [0.0, -0.0, np.inf, -np.inf, 65504, 65519.99, 65520, 65536, 448, 464, 464.01, 465, 480, 512, 57344, 61439.9, 61440, 240, 247.9, 248, 248.1, 1e38, 1e-38, 1e-45]
    edges = torch.tensor(edges + [-e for e in edges], dtype=torch.float32)
    all_codes = torch.arange(256, dtype=torch.uint8)
    points = torch.cat([edges, random] + [neighbours(all_codes.view(d)) for d in FLOAT8.values()])
    points = torch.unique(points.view(torch.int32)).view(torch.float32)
    points = points[~torch.isnan(points)]
    nans = torch.tensor([0x7FC00000, 0x7F800001, 0x7FC12345, -1, -0x400000], dtype=torch.int32).view(torch.float32)
    tensors["points"] = torch.cat([points, nans])
    for name, dtype in {**FLOAT8, **HALVES}.items():
        tensors[f"points.{name}"] = tensors["points"].to(dtype)
    for name, dtype in FLOAT8.items():
        tensors[f"decoded.{name}"] = all_codes.view(dtype).float()

    # Integers that a detour over float64 rounds twice.
    base = [0, 1, -1, 2**24 + 1, 2**53 + 1, 2**62 + 2**38, 2**62 + 2**38 + 1, 2**62 + 2**38 - 1, 2**63 - 1, 2**60 + 2**36 + 1, 2**60 + 3 * 2**36 - 1]
    tensors["int64"] = torch.tensor(base + [-b for b in base] + [-(2**63)], dtype=torch.int64)
    tensors["int64.float32"] = tensors["int64"].float()
    tensors["uint64"] = torch.from_numpy(np.array([0, 1, 2**53 + 1, 2**63, 2**63 + 2**39, 2**63 + 2**39 + 1, 2**64 - 1], dtype=np.uint64))
    tensors["uint64.float32"] = tensors["uint64"].float()
    tensors["float64"] = torch.tensor([0.1, 1 + 2.0**-24, 1 + 2.0**-24 + 2.0**-50, 1e300, -1e-300, 2.0**-149, 2.0**-150], dtype=torch.float64)
    tensors["float64.float32"] = tensors["float64"].float()
    save_file(tensors, OUT / "casts.safetensors")

    # 16 bits: every code decoded, and every value, tie and neighbour encoded, as hashes (NaN apart: its payload is free).
    hashes = {}
    every = torch.arange(65536, dtype=torch.int32).to(torch.int16)
    for name, dtype in HALVES.items():
        decoded = every.view(dtype).float()
        inputs = neighbours(every.view(dtype))
        hashes[name] = {
            "decoded": digest(decoded.masked_fill(torch.isnan(decoded), 0)),
            "nans": int(torch.isnan(decoded).sum()),
            "inputs": digest(inputs),
            "encoded": digest(inputs.to(dtype).view(torch.int16)),
            "count": inputs.numel(),
        }
    meta = {
        "script": "reference/convert.py",
        "seed": SEED,
        "versions": {"torch": torch.__version__, "safetensors": safetensors.__version__},
        "sha256": hashes,
    }
    (OUT / "casts.json").write_text(json.dumps(meta, indent=2) + "\n")


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    main()
