"""What optimum-quanto makes of weights: codes, packed bytes, scales and shifts of frozen modules, for every qtype and dtype.

Writes test/fixtures/quant/. weights.safetensors holds "<dtype>.<weight>.weight" and, for every qtype (and "qint4-hqq", "qint2-hqq"),
"<dtype>.<weight>.<qtype>.<key>", where the keys are those of the frozen module's state_dict behind "weight.". weights.json says for each
what it is made of, the keys of the whole state_dict in order, the beginning of the SHA-256 of the dequantized numbers (as float32, one NaN for all), and
what Quanto said where it refused. Plain weights also have an input, the module's own output and the float product with the dequantized
weight. patterns.json: fnmatch; modules.json: which modules quantize() and diffusers replace; group-sizes.json: groups by in_features.
"""

import hashlib
import itertools
import random
from fnmatch import fnmatch

import torch
from safetensors.torch import save_file

from fixtures import DTYPES, FIXTURES, be_quiet, generator, versions, write_json
from optimum.quanto import HqqOptimizer, QConv2d, QLinear, freeze, qtypes, quantize
from optimum.quanto import __version__ as quanto_version

OUT = FIXTURES / "quant"
SEED = 5
QTYPES = ["qint8", "qint4", "qint2", "qfloat8_e4m3fn", "qfloat8_e4m3fnuz", "qfloat8_e5m2"]
ABOUT = {"script": "reference/quant.py", "seed": SEED, "versions": {**versions(), "optimum-quanto": quanto_version}}

# Rows of tricky numbers: in_features 4096 has few rows, since it is large; 16 rows are what the bfloat16 4-bit kernel asks for.
TRICKY = {1: 12, 31: 11, 96: 13, 128: 12, 160: 7, 192: 14, 256: 16, 1152: 3, 4096: 2}
CONVS = [(8, 4, 2, 2), (6, 3, 3, 3), (4, 32, 3, 3), (16, 8, 4, 4), (8, 16, 4, 4), (5, 64, 1, 1)]
ONE_ROW = [(1, 1), (1, 40), (1, 96), (1, 256), (1, 3, 2, 2), (1, 16, 4, 4)]
PLAIN = [(16, 256), (16, 1152), (12, 192), (9, 40), (16, 8, 4, 4), (4, 32, 3, 3)]


def tricky_rows(rows, length, dtype, draw):
    """Rows that go wrong in different ways: zeros, ties, subnormals, numbers near the end of the range, constants."""
    info = torch.finfo(dtype)
    normal = torch.randn(rows, length, generator=draw, dtype=torch.float64) * length**-0.5
    steps = torch.arange(length, dtype=torch.float64)
    kinds = [
        lambda row: row,
        lambda row: row * 0,
        # Ties of int8: the scale is 1, the numbers end in .5.
        lambda row: torch.where(steps == 0, 127.0, (steps * 7 % 253) / 2 - 63.5),
        # Below the smallest normal number.
        lambda row: (row * 40).round() * info.smallest_normal * info.eps,
        # Ties of 4 and 2 bits: the scale is 1, the numbers end in .5.
        lambda row: (steps * 5 % 31) / 2,
        lambda row: row.clamp(-1, 1) / row.abs().max().clamp_min(1e-9) * info.max,
        lambda row: row * 0 + 0.371,
        lambda row: row.abs() + 1,
        lambda row: torch.where(steps == length // 2, 60.0, row),
        # Ties of the float8 types: 448 gives a scale of 1 for e4m3fn.
        lambda row: torch.where(steps == 0, 448.0, (steps % 8 * 2 + 17) * 2.0 ** (steps % 13 - 8)),
        lambda row: -row * info.tiny * 3,
        lambda row: (row * 100).round() / 4,
        lambda row: -(row.abs()) * 1e-4,
        lambda row: torch.where(row < 0, -0.0, row),
    ]
    made = [kinds[i % len(kinds)](normal[i]) for i in range(rows)]
    return torch.stack(made).clamp(info.min, info.max).to(dtype)


def weights_of(dtype):
    """All weights of a dtype: {name: (weight, what it is for)}."""
    draw = generator(SEED)
    found = {}
    for length, rows in TRICKY.items():
        found[f"tricky-{rows}x{length}"] = (tricky_rows(rows, length, dtype, draw), "tricky")
    for shape in CONVS:
        found["conv-" + "x".join(map(str, shape))] = (tricky_rows(shape[0], shape[1] * shape[2] * shape[3], dtype, draw).reshape(shape), "tricky")
    for shape in ONE_ROW:
        found["one-row-" + "x".join(map(str, shape))] = (torch.randn(shape, generator=draw).to(dtype), "tricky")
    for value, name in ((0.0, "zero"), (-0.0, "negative-zero")):
        found[f"one-row-{name}"] = (torch.full((1, 40), value, dtype=dtype), "tricky")
        found[f"{name}-16x256"] = (torch.full((16, 256), value, dtype=dtype), "tricky")
    # The smallest numbers are zeros of both signs.
    signs = torch.randn(16, 256, generator=draw).to(dtype)
    found["mixed-zeros-16x256"] = (torch.where(signs < 0, torch.tensor(-0.0, dtype=dtype), signs.clamp_min(0.5) - 0.5), "tricky")
    for shape in PLAIN:
        weight = torch.randn(shape, generator=draw) * (shape[1] * (shape[2] * shape[3] if len(shape) == 4 else 1)) ** -0.5
        found["plain-" + "x".join(map(str, shape))] = (weight.to(dtype), "plain")
    # Errors above 0.17 are what hqq shrinks.
    found["wide-16x256"] = (torch.randn(16, 256, generator=draw).mul(2).pow(3).to(dtype), "wide")
    found["wide-conv-6x5x3x3"] = (torch.randn(6, 5, 3, 3, generator=draw).mul(2).pow(3).to(dtype), "wide")
    return found


def module_of(weight, bias=None):
    """A Linear or Conv2d with this weight, inside a model."""
    if weight.ndim == 2:
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        layer = torch.nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], bias=bias is not None)
    layer = layer.to(weight.dtype)
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)
    return torch.nn.Sequential(layer)


def digest(values):
    """The beginning of the SHA-256 of the numbers as float32, every NaN the same."""
    values = values.float().contiguous()
    values = torch.where(values.isnan(), torch.tensor(float("nan")), values)
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()[:16]


def quantized(weight, purpose, qtype, optimizer, draw):
    """Quantizes and freezes a module; returns (its weight's tensors, what to write about them)."""
    bias = torch.randn(weight.shape[0], generator=draw).to(weight.dtype) if purpose == "plain" else None
    model = module_of(weight, bias)
    quantize(model, weights=qtypes[qtype], optimizer=optimizer)
    try:
        freeze(model)
    except (RuntimeError, ValueError) as error:
        return {}, {"refused": str(error).splitlines()[0]}
    state = model.state_dict()
    prefix = "0.weight."
    tensors = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    dequantized = model[0].weight.dequantize()
    about = {
        "keys": " ".join(key[2:] for key in state),
        "group": getattr(model[0], "weight_group_size", None),
        "class": type(model[0].weight).__name__,
        "dequantized": digest(dequantized),
    }
    if purpose == "plain":
        shape = (3, weight.shape[1]) if weight.ndim == 2 else (2, weight.shape[1], 7, 7)
        tensors["input"] = torch.randn(shape, generator=draw).to(weight.dtype)
        tensors["bias"] = bias
        # torch 2.13's kernel for bfloat16 with int8 weights crashes on some shapes ([9, 40]).
        if weight.dtype != torch.bfloat16 or qtype != "qint8":
            tensors["output"] = model(tensors["input"])
        apply = torch.nn.functional.linear if weight.ndim == 2 else torch.nn.functional.conv2d
        tensors["product"] = apply(tensors["input"].float(), dequantized.float(), bias.float())
    return tensors, about


def write_weights():
    stored, cases = {}, []
    for dtype_name, dtype in DTYPES.items():
        for name, (weight, purpose) in weights_of(dtype).items():
            stored[f"{dtype_name}.{name}.weight"] = weight
            case = {"name": name, "dtype": dtype_name, "shape": list(weight.shape), "purpose": purpose, "qtypes": {}}
            cases.append(case)
            jobs = [(qtype, None) for qtype in QTYPES] if purpose != "wide" else []
            if purpose in ("plain", "wide") or name.startswith("one-row"):
                jobs += [(qtype, HqqOptimizer()) for qtype in ("qint4", "qint2")]
            for qtype, optimizer in jobs:
                label = qtype + ("-hqq" if optimizer else "")
                tensors, case["qtypes"][label] = quantized(weight, purpose, qtype, optimizer, generator(SEED))
                stored.update({f"{dtype_name}.{name}.{label}.{key}": value for key, value in tensors.items()})
    save_file({key: value.detach().clone().contiguous() for key, value in stored.items()}, OUT / "weights.safetensors")
    write_json(OUT / "weights.json", {**ABOUT, "cases": cases})


def write_patterns():
    """fnmatch on patterns from a small alphabet, so that brackets, ranges and dots meet."""
    draw = random.Random(SEED)
    pairs = [
        ("transformer_blocks.3.attn1.to_q", "*attn*"),
        ("transformer_blocks.3.attn1.to_q", "attn*"),
        ("transformer_blocks.3.attn1.to_q", "transformer_blocks.[0-3].*"),
        ("transformer_blocks.12.attn1.to_q", "transformer_blocks.1?.*to_[qk]"),
        ("proj_out", "PROJ_OUT"),
        ("proj_out", "proj_out "),
        ("a\nb", "a*b"),
        ("", "*"),
        ("", ""),
        ("a", ""),
        ("a[b", "a[b"),
        ("a\\b", "a[\\]b"),
    ]
    for _ in range(3000):
        pattern = "".join(draw.choice("ab.c*?[]!-^d\\") for _ in range(draw.randint(0, 9)))
        name = "".join(draw.choice("abcd.-]!^[") for _ in range(draw.randint(0, 6)))
        pairs.append((name, pattern))
    for _ in range(3000):
        inside = "".join(draw.choice("abcd-!]^[") for _ in range(draw.randint(0, 8)))
        pairs.append((draw.choice("abcd-!]^["), f"[{inside}]"))
    rows = sorted({(pattern, name, fnmatch(name, pattern)) for name, pattern in pairs})
    yes = [[pattern, name] for pattern, name, matches in rows if matches]
    no = [[pattern, name] for pattern, name, matches in rows if not matches]
    no = draw.sample(no, 1500)
    write_json(OUT / "patterns.json", {**ABOUT, "matches": yes, "differs": no})


def models():
    """Small models of the real classes; their modules are named as the large ones' are."""
    from diffusers import PixArtTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    yield "pixart", lambda: PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2, cross_attention_dim=16, sample_size=8, caption_channels=16
    )
    yield "t5", lambda: T5EncoderModel(T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"))
    yield "clip", lambda: CLIPTextModel(CLIPTextConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2))


def write_modules():
    from diffusers import QuantoConfig
    from diffusers.quantizers.quanto.utils import _replace_with_quanto_layers

    requests = [
        {},
        {"exclude": "proj_out"},
        {"exclude": ["proj_out", "*attn2*"]},
        {"include": "*attn*"},
        {"include": ["*attn*", "*SelfAttention*", "*mlp*"], "exclude": ["*to_out*", "*.o", "*fc1"]},
        {"include": []},
        {"exclude": []},
        {"include": "transformer_blocks.[!0].*"},
        {"exclude": "*.?"},
        {"include": "*", "exclude": "*"},
    ]
    leaves = [None, [], ["proj_out"], ["to_q", "q"], ["attn1"], ["0", "proj", "linear", "linear_1", "fc2", "wo"]]
    found = {}
    for name, make in models():
        model = make()
        modules = [
            {"name": path, "kind": "linear" if isinstance(module, torch.nn.Linear) else "conv2d", "shape": list(module.weight.shape)}
            for path, module in model.named_modules()
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
        ]
        quanto, diffusers = [], []
        for request in requests:
            model = make()
            quantize(model, weights=qtypes["qint8"], **request)
            quanto.append({**request, "quantized": [path for path, module in model.named_modules() if isinstance(module, (QLinear, QConv2d))]})
        for leaf in leaves:
            config = QuantoConfig(weights_dtype="int8", modules_to_not_convert=leaf)
            model = _replace_with_quanto_layers(make(), config, config.modules_to_not_convert or [])
            quantized_names = [path for path, module in model.named_modules() if isinstance(module, QLinear)]
            diffusers.append({"notConverted": leaf or [], "quantized": quantized_names})
        found[name] = {"modules": modules, "quanto": quanto, "diffusers": diffusers}
    write_json(OUT / "modules.json", {**ABOUT, "models": found})


def write_group_sizes():
    lengths = [*range(1, 420), 1024, 1120, 1152, 1536, 2048, 2432, 4096, 4304, 4608, 10240]
    sizes = [QLinear(length, 2, device="meta", weights=qtypes["qint4"]).weight_group_size for length in lengths]
    convs = [(8, 3, 3, 3), (8, 4, 2, 2), (8, 16, 2, 2), (8, 32, 3, 3), (8, 64, 3, 3), (8, 1, 12, 12), (8, 41, 1, 4)]
    conv_sizes = [QConv2d(shape[1], shape[0], shape[2:], device="meta", weights=qtypes["qint2"]).weight_group_size for shape in convs]
    runs = [[length for length, _ in group] for _, group in itertools.groupby(zip(lengths, sizes), key=lambda pair: pair[1])]
    assert len(runs) > 20
    write_json(OUT / "group-sizes.json", {**ABOUT, "lengths": lengths, "sizes": [size or 0 for size in sizes], "convs": convs, "convSizes": [size or 0 for size in conv_sizes]})


if __name__ == "__main__":
    be_quiet()
    OUT.mkdir(parents=True, exist_ok=True)
    write_weights()
    write_patterns()
    write_modules()
    write_group_sizes()
