"""Files that the Python libraries write, and which headers they accept. Writes test/fixtures/checkpoint/."""

import base64
import hashlib
import json
import shutil
import struct
from pathlib import Path

import diffusers
import safetensors
import torch
import transformers
from safetensors.torch import save_file

OUT = Path("test/fixtures/checkpoint")
SEED = 0


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    torch.manual_seed(SEED)
    write_all_dtypes()
    tensors = write_models()
    versions = {module.__name__: module.__version__ for module in (torch, safetensors, diffusers, transformers)}
    about = {"script": "reference/checkpoint.py", "seed": SEED, "versions": versions}
    (OUT / "headers.json").write_text(json.dumps({**about, "headers": judge_headers()}, indent=1) + "\n")
    (OUT / "models.json").write_text(json.dumps({**about, "tensors": tensors}, indent=1) + "\n")


def write_all_dtypes() -> None:
    """Every dtype, names that sort differently by UTF-16 and by code point or need escapes, scalars and empty tensors."""
    dtypes = """bool uint8 int8 float8_e5m2 float8_e4m3fn float8_e4m3fnuz float8_e5m2fnuz int16 uint16 float16 bfloat16
                int32 uint32 float32 float64 int64 uint64""".split()
    tensors = {}
    for i, name in enumerate(dtypes):
        dtype = getattr(torch, name)
        raw = torch.randint(0, 2 if name == "bool" else 256, (2, 3, dtype.itemsize), dtype=torch.uint8)
        tensors[f"{17 - i}.{name}"] = raw.flatten().view(dtype).reshape(2, 3)
    for i, name in enumerate(["z", "é", "\U0001f600", "\uffee", 'a\n\x01\x7f\u2028"/\\', "__proto__", "", "a.b", "a.b.c", "a-b"]):
        tensors[name] = torch.full((1, i), float(i))
    tensors["scalar"] = torch.tensor(2.5)
    tensors["scalar.half"] = torch.tensor(2.5, dtype=torch.float16)
    save_file(tensors, OUT / "all-dtypes.safetensors", metadata={"format": "pt"})
    save_file({"a": torch.arange(3.0)}, OUT / "plain.safetensors")


def write_models() -> dict[str, dict[str, dict[str, str]]]:
    """The same tiny weights whole, in shards, and as a variant of either, as save_pretrained of both libraries names them."""
    transformer = diffusers.PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=4, in_channels=2, out_channels=2, num_layers=1, cross_attention_dim=8,
        sample_size=4, caption_channels=8, use_additional_conditions=False,
    )
    t5 = transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu")
    )
    tensors = {}
    for name, model in (("transformer", transformer), ("text_encoder", t5)):
        plain = {key: digest(tensor) for key, tensor in model.state_dict().items()}
        model.save_pretrained(OUT / "whole" / name)
        model.save_pretrained(OUT / "sharded" / name, max_shard_size="4KB" if name == "transformer" else "1KB")
        model.half()
        model.save_pretrained(OUT / "whole" / name, variant="fp16")
        model.save_pretrained(OUT / "sharded" / name, variant="fp16", max_shard_size="3KB" if name == "transformer" else "1KB")
        tensors[name] = {"plain": plain, "fp16": {key: digest(tensor) for key, tensor in model.state_dict().items()}}
    return tensors


def digest(tensor: torch.Tensor) -> dict[str, str]:
    data = tensor.contiguous()
    return {"dtype": str(data.dtype), "shape": list(data.shape), "sha256": hashlib.sha256(data.numpy().tobytes()).hexdigest()}


def judge_headers() -> list[dict[str, str]]:
    """What the Rust library behind safetensors says of sound and of broken files."""
    u8 = lambda begin, end, shape=None, dtype="U8": {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}
    entry = '"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
    files: dict[str, tuple[str | bytes, bytes]] = {
        "one tensor": ({"a": u8(0, 4)}, b"1234"),
        "no tensor": ({}, b""),
        "scalar": ({"a": u8(0, 4, [], "F32")}, b"1234"),
        "out of order": ({"b": u8(4, 8), "a": u8(0, 4)}, b"12345678"),
        "empty tensor at the start": ({"a": u8(0, 4), "z": u8(0, 0)}, b"1234"),
        "empty tensor between": ({"a": u8(0, 4), "z": u8(4, 4), "b": u8(4, 8)}, b"12345678"),
        "empty tensor inside another": ({"a": u8(0, 4), "z": u8(2, 2)}, b"1234"),
        "empty tensor beyond the end": ({"a": u8(0, 4), "z": u8(5, 5)}, b"1234"),
        "gap between": ({"a": u8(0, 4), "b": u8(5, 8)}, b"12345678"),
        "gap at the start": ({"b": u8(4, 8)}, b"12345678"),
        "overlap": ({"a": u8(0, 4), "b": u8(2, 8)}, b"12345678"),
        "same bytes twice": ({"a": u8(0, 4), "b": u8(0, 4)}, b"1234"),
        "bytes left over": ({"a": u8(0, 4)}, b"12345678"),
        "cut short": ({"a": u8(0, 4)}, b"12"),
        "begin after end": ({"a": u8(4, 0, [4])}, b"1234"),
        "size is not the shape's": ({"a": u8(0, 4, [5])}, b"1234"),
        "dims overflow": ('{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}', b""),
        "dims overflow before a zero": ('{"a":{"dtype":"U8","shape":[9223372036854775807,9223372036854775807,0],"data_offsets":[0,0]}}', b""),
        "bytes overflow": ('{"a":{"dtype":"F64","shape":[4611686018427387904],"data_offsets":[0,0]}}', b""),
        "huge dim beside a zero": ('{"a":{"dtype":"U8","shape":[0,18446744073709551615],"data_offsets":[0,0]}}', b""),
        "negative dim": ('{"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}', b"1234"),
        "negative zero": ('{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}', b""),
        "dim with a fraction": ('{"a":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}}', b"1234"),
        "dim with an exponent": ('{"a":{"dtype":"U8","shape":[4e0],"data_offsets":[0,4]}}', b"1234"),
        "dim with a leading zero": ('{"a":{"dtype":"U8","shape":[04],"data_offsets":[0,4]}}', b"1234"),
        "dim is a string": ('{"a":{"dtype":"U8","shape":["4"],"data_offsets":[0,4]}}', b"1234"),
        "offset beyond 2^64": ('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551620]}}', b"1234"),
        "three offsets": ('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4,4]}}', b"1234"),
        "one offset": ('{"a":{"dtype":"U8","shape":[4],"data_offsets":[4]}}', b"1234"),
        "no dtype": ('{"a":{"shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "no shape": ('{"a":{"dtype":"U8","data_offsets":[0,4]}}', b"1234"),
        "no offsets": ('{"a":{"dtype":"U8","shape":[4]}}', b"1234"),
        "unknown field": ('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"x":[{"y":[null,true,-1.5e3]}]}}', b"1234"),
        "field twice": ('{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "tensor twice": ("{%s,%s}" % (entry, entry), b"1234"),
        "entry is a list": ('{"a":["U8",[4],[0,4]]}', b"1234"),
        "entry is null": ('{"a":null}', b""),
        "header is a list": ("[]", b""),
        "header is a number": ("1", b""),
        "header is nothing": ("", b""),
        "header is not JSON": ("{a}", b""),
        "trailing comma": ("{%s,}" % entry, b"1234"),
        "comment": ("{/**/%s}" % entry, b"1234"),
        "second object": ("{%s}{}" % entry, b"1234"),
        "space before": (" {%s}" % entry, b"1234"),
        "space after": ("{%s}  \n" % entry, b"1234"),
        "NUL after": (b"{%s}\0\0" % entry.encode(), b"1234"),
        "byte-order mark": ("\ufeff{%s}" % entry, b"1234"),
        "bad UTF-8": (b'{"\xff":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "control character": ('{"a\n":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "bad escape": ('{"\\x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "lone surrogate": ('{"\\ud800":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "pair of surrogates": ('{"\\ud83d\\ude00":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "__proto__": ({"__proto__": u8(0, 4)}, b"1234"),
        "constructor": ({"constructor": u8(0, 4), "toString": u8(4, 8)}, b"12345678"),
        "empty name": ({"": u8(0, 4)}, b"1234"),
        "metadata": ({"__metadata__": {"format": "pt", "": ""}, "a": u8(0, 4)}, b"1234"),
        "metadata is null": ({"__metadata__": None, "a": u8(0, 4)}, b"1234"),
        "metadata is a list": ({"__metadata__": [], "a": u8(0, 4)}, b"1234"),
        "metadata holds a number": ({"__metadata__": {"x": 1}, "a": u8(0, 4)}, b"1234"),
        "metadata holds null": ({"__metadata__": {"x": None}, "a": u8(0, 4)}, b"1234"),
        "metadata twice": ('{"__metadata__":{},"__metadata__":{},%s}' % entry, b"1234"),
        "metadata key twice": ('{"__metadata__":{"x":"1","x":"2"},%s}' % entry, b"1234"),
        "nested too deep": ('{"a":{"x":%s%s}}' % ("[" * 2000, "]" * 2000), b""),
        "unknown dtype": ({"a": u8(0, 4, dtype="U7")}, b"1234"),
        "dtype in small letters": ({"a": u8(0, 4, dtype="u8")}, b"1234"),
        "dtype of Object": ({"a": u8(0, 4, dtype="constructor")}, b"1234"),
        "dtype is a number": ('{"a":{"dtype":8,"shape":[4],"data_offsets":[0,4]}}', b"1234"),
        "dtype F4": ({"a": u8(0, 2, [4], "F4")}, b"12"),
        "dtype F6_E2M3": ({"a": u8(0, 3, [4], "F6_E2M3")}, b"123"),
        "dtype F6_E3M2": ({"a": u8(0, 3, [4], "F6_E3M2")}, b"123"),
        "dtype F8_E8M0": ({"a": u8(0, 4, dtype="F8_E8M0")}, b"1234"),
        "dtype C64": ({"a": u8(0, 8, [1], "C64")}, b"12345678"),
        "dtype F8_E4M3FNUZ": ({"a": u8(0, 4, dtype="F8_E4M3FNUZ")}, b"1234"),
        "dtype F8_E5M2FNUZ": ({"a": u8(0, 4, dtype="F8_E5M2FNUZ")}, b"1234"),
    }
    verdicts = []
    for label, (header, data) in files.items():
        text = json.dumps(header, ensure_ascii=False) if isinstance(header, dict) else header
        text = text if isinstance(text, bytes) else text.encode()
        verdicts.append(judge(label, struct.pack("<Q", len(text)) + text + data))
    for label, raw in {
        "no bytes": b"",
        "seven bytes": b"1234567",
        "length beyond the file": struct.pack("<Q", 100) + b"{}",
        "length above the limit": struct.pack("<Q", 100_000_001) + b"{}",
        "length of 2^64 - 1": struct.pack("<Q", 2**64 - 1) + b"{}",
        "length of 0": struct.pack("<Q", 0),
        "a pickle": b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01ctorch._utils\n",
        "an HTML page": b"<!DOCTYPE html><html></html>",
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }.items():
        verdicts.append(judge(label, raw))
    return verdicts


def judge(label: str, raw: bytes) -> dict[str, str]:
    try:
        safetensors.deserialize(raw)
        python = "ok"
    except safetensors.SafetensorError as error:
        python = str(error)
    return {"label": label, "base64": base64.b64encode(raw).decode(), "python": python}


if __name__ == "__main__":
    main()
