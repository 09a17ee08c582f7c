"""What Quanto and diffusers write for quantized models, and whether they load what halftone writes.

Writes test/fixtures/quant-files/. files.json (T5, CLIP, PixArt and SD3) and auraflow.json (UMT5 and AuraFlow): for every case the SHA-256 of
the safetensors that Python's own save_pretrained wrote from a tiny model of test/fixtures/models, its map and its config, and what Python said
of halftone's folder made from the same model: the same bytes, the same state dict, the same output. quanto/, text_encoder/ and diffusers/ are
folders as Python wrote them.

usage: python reference/quant_files.py [files] [auraflow]        (HALFTONE="node dist/cli/main.js" by default: run `npm run build` first)
"""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import sd3
import torch
from diffusers import AuraFlowTransformer2DModel, PixArtSigmaPipeline, PixArtTransformer2DModel, QuantoConfig, SD3Transformer2DModel
from fixtures import DTYPES, FIXTURES, ROOT, be_quiet, generator, versions, write_json
from optimum.quanto import QuantizedDiffusersModel, QuantizedPixArtTransformer2DModel, requantize
from optimum.quanto import __version__ as quanto_version
from optimum.quanto.models.transformers_models import QuantizedTransformersModel
from safetensors.torch import load_file
from transformers import AutoConfig, CLIPTextModelWithProjection, T5EncoderModel, UMT5EncoderModel

OUT = FIXTURES / "quant-files"
HALFTONE = shlex.split(os.environ.get("HALFTONE", "node dist/cli/main.js"))
QTYPES = ["qint8", "qint4", "qint2", "qfloat8_e4m3fn", "qfloat8_e4m3fnuz", "qfloat8_e5m2"]
DIFFUSERS = {"int8": "qint8", "int4": "qint4", "int2": "qint2", "float8": "qfloat8_e4m3fn"}
ENCODERS = {"t5": T5EncoderModel, "clip": CLIPTextModelWithProjection, "umt5": UMT5EncoderModel}
MODELS = {
    "pixart-sigma": "models/pixart-sigma",
    "t5": "models/t5",
    "clip": "models/clip",
    "sd35-medium": "models/sd35-medium",
    "pixart-tiny": "pipelines/tiny/transformer",
    "auraflow": "models/auraflow",
    "umt5": "models/umt5",
}
SEED = 3


class QuantizedSD3Transformer2DModel(QuantizedDiffusersModel):
    """Quanto has a class for PixArt alone; one for another of diffusers' classes takes these two lines."""

    base_class = SD3Transformer2DModel


class QuantizedAuraFlowTransformer2DModel(QuantizedDiffusersModel):
    """The same for AuraFlow."""

    base_class = AuraFlowTransformer2DModel


# diffusers' class of a model, and Quanto's for it.
TRANSFORMERS = {
    "sd35-medium": (SD3Transformer2DModel, QuantizedSD3Transformer2DModel),
    "auraflow": (AuraFlowTransformer2DModel, QuantizedAuraFlowTransformer2DModel),
}


def cases():
    for model in ("pixart-sigma", "t5", "clip", "sd35-medium"):
        for dtype in DTYPES:
            for qtype in QTYPES:
                yield {"model": model, "layout": "quanto", "dtype": dtype, "qtype": qtype, "exclude": []}
    yield {"model": "pixart-sigma", "layout": "quanto", "dtype": "float16", "qtype": "qint8", "exclude": ["proj_out"]}
    yield {"model": "pixart-sigma", "layout": "quanto", "dtype": "float32", "qtype": "qint4", "exclude": ["*attn1*", "pos_embed.proj"]}
    yield {"model": "t5", "layout": "quanto", "dtype": "float16", "qtype": "qint8", "exclude": ["*.wo"]}
    for model in ("pixart-sigma", "sd35-medium"):
        for dtype in DTYPES:
            for qtype in DIFFUSERS.values():
                yield {"model": model, "layout": "diffusers", "dtype": dtype, "qtype": qtype, "exclude": []}
    yield {"model": "pixart-sigma", "layout": "diffusers", "dtype": "float16", "qtype": "qint8", "exclude": ["proj_out", "*.to_q"]}
    yield {"model": "pixart-tiny", "layout": "quanto", "dtype": "float16", "qtype": "qint4", "exclude": []}
    yield {"model": "pixart-tiny", "layout": "diffusers", "dtype": "float16", "qtype": "qint8", "exclude": ["proj_out"]}


def auraflow_cases():
    for model in ("auraflow", "umt5"):
        for dtype in DTYPES:
            for qtype in QTYPES:
                yield {"model": model, "layout": "quanto", "dtype": dtype, "qtype": qtype, "exclude": []}
    for dtype in DTYPES:
        for qtype in DIFFUSERS.values():
            yield {"model": "auraflow", "layout": "diffusers", "dtype": dtype, "qtype": qtype, "exclude": []}
    yield {"model": "auraflow", "layout": "quanto", "dtype": "float16", "qtype": "qint4", "exclude": ["*norm*", "proj_out", "context_embedder"]}


def classes(case):
    """Returns diffusers' class of a model, and Quanto's for it."""
    return TRANSFORMERS.get(case["model"], (PixArtTransformer2DModel, QuantizedPixArtTransformer2DModel))


def weights_file(case):
    return "model.safetensors" if case["model"] in ENCODERS else "diffusion_pytorch_model.safetensors"


def save_by_python(case, folder):
    """Quantizes, freezes and saves with the real libraries."""
    source, dtype = FIXTURES / MODELS[case["model"]], DTYPES[case["dtype"]]
    if case["layout"] == "diffusers":
        word = next(word for word, qtype in DIFFUSERS.items() if qtype == case["qtype"])
        left = [pattern.rsplit(".", 1)[-1] for pattern in case["exclude"]]
        config = QuantoConfig(weights_dtype=word, modules_to_not_convert=left or None)
        classes(case)[0].from_pretrained(source, torch_dtype=dtype, quantization_config=config).save_pretrained(folder)
        return
    exclude = case["exclude"] or None
    if case["model"] in ENCODERS:
        model = ENCODERS[case["model"]].from_pretrained(source, dtype=dtype)
        QuantizedTransformersModel.quantize(model, weights=case["qtype"], exclude=exclude).save_pretrained(folder)
    else:
        plain, quantized = classes(case)
        model = plain.from_pretrained(source, torch_dtype=dtype)
        quantized.quantize(model, weights=case["qtype"], exclude=exclude).save_pretrained(folder)
    (folder / "README.md").unlink()


def save_by_halftone(case, folder):
    """Runs `halftone quantize`."""
    flags = ["--qtype", case["qtype"], "--dtype", case["dtype"], "--layout", case["layout"], "--output", str(folder), "--quiet"]
    excludes = [word for pattern in case["exclude"] for word in ("--exclude", pattern)]
    subprocess.run([*HALFTONE, "quantize", str(FIXTURES / MODELS[case["model"]]), *flags, *excludes], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def load(case, folder):
    """Loads a folder with the class that is made for it, or, where users will find none, with requantize."""
    dtype = DTYPES[case["dtype"]]
    if case["layout"] == "diffusers":
        return classes(case)[0].from_pretrained(folder, torch_dtype=dtype)
    if case["model"] in ENCODERS:
        model = ENCODERS[case["model"]]._from_config(AutoConfig.from_pretrained(folder), dtype=dtype)
    elif case["model"] == "sd35-medium":
        model = SD3Transformer2DModel.from_config(SD3Transformer2DModel.load_config(folder)).to(dtype)
    else:
        return classes(case)[1].from_pretrained(folder)
    requantize(model, load_file(folder / weights_file(case)), json.loads((folder / "quanto_qmap.json").read_text()))
    return model.eval()


def call(case, model):
    """Runs a model on drawn inputs; what Quanto's class leaves in float32 takes the dtype of the weights first."""
    if case["model"] in ENCODERS:
        ids = torch.randint(0, model.config.vocab_size, (2, 9), generator=generator(SEED))
        return model(input_ids=ids)[0]
    config = model.config
    dtype = DTYPES[case["dtype"]]
    if case["model"] == "sd35-medium":
        return sd3.call_with(sd3.inputs_of(config, SEED, 2, 6, 8, 5))(model, lambda value: value.to(dtype))
    inner = model._wrapped.to(dtype) if isinstance(model, QuantizedDiffusersModel) else model
    side = config.sample_size
    hidden = torch.randn((2, config.in_channels, side, side), generator=generator(SEED)).to(dtype)
    width = config.joint_attention_dim if case["model"] == "auraflow" else config.caption_channels
    text = torch.randn((2, 7, width), generator=generator(SEED + 1)).to(dtype)
    if case["model"] == "auraflow":
        return inner(hidden, encoder_hidden_states=text, timestep=torch.tensor([0.5, 0.02])).sample
    return inner(hidden_states=hidden, encoder_hidden_states=text, timestep=torch.tensor([500, 20]), added_cond_kwargs={"resolution": None, "aspect_ratio": None}).sample


def equal(a, b):
    """Whether two tensors hold the same bits (a NaN is a NaN)."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.is_floating_point and a.dtype.itemsize > 1:
        return torch.equal(a.nan_to_num(123.0), b.nan_to_num(123.0)) and torch.equal(a.isnan(), b.isnan())
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def outcome(function):
    """Returns what a function returns, or the words of its error: where Python cannot run its own files, nor can it run ours."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"


def in_child(function, file):
    """Calls a function in a process of its own: torch's own 8-bit product of bfloat16 crashes on some shapes, whoever wrote the file."""
    pid = os.fork()
    if pid == 0:
        torch.save(outcome(function), file)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return torch.load(file) if status == 0 else f"torch crashes (signal {os.WTERMSIG(status)})"


def judge(case, python, halftone):
    """Compares the two folders: bytes, state dict as loaded, output."""
    ours, theirs = outcome(lambda: load(case, halftone)), outcome(lambda: load(case, python))
    if isinstance(theirs, str) or isinstance(ours, str):
        return {"loads": ours if isinstance(ours, str) else True, "python_loads_its_own": theirs if isinstance(theirs, str) else True}
    unwrap = lambda model: model._wrapped if isinstance(model, QuantizedDiffusersModel) else model
    a, b = unwrap(ours).state_dict(), unwrap(theirs).state_dict()
    x, y = in_child(lambda: call(case, ours), halftone.with_suffix(".pt")), in_child(lambda: call(case, theirs), python.with_suffix(".pt"))
    same_output = equal(x, y) if not isinstance(x, str) and not isinstance(y, str) else (x if x == y else f"{x} / {y}")
    return {"loads": True, "same_state_dict": list(a) == list(b) and all(equal(a[name], b[name]) for name in a), "same_output": same_output}


def judge_pipeline(work):
    """Opens a pipeline that halftone wrote in diffusers' layout as any pipeline, and compares two steps with Python's own quantization."""
    tiny, folder = FIXTURES / "pipelines/tiny", work / "pipeline"
    flags = ["--qtype", "transformer=qint8", "--layout", "diffusers", "--output", str(folder), "--quiet"]
    subprocess.run([*HALFTONE, "quantize", str(tiny), *flags], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    config = QuantoConfig(weights_dtype="int8")
    transformer = PixArtTransformer2DModel.from_pretrained(tiny / "transformer", quantization_config=config)
    pipelines = PixArtSigmaPipeline.from_pretrained(folder), PixArtSigmaPipeline.from_pretrained(tiny, transformer=transformer)
    options = {"num_inference_steps": 2, "height": 32, "width": 32, "output_type": "latent", "use_resolution_binning": False}
    ours, theirs = (pipeline("a fox", generator=generator(SEED), **options).images for pipeline in pipelines)
    return {"quantized": type(pipelines[0].transformer.proj_out).__name__ == "QLinear", "same_output": equal(ours, theirs)}


def config_of(folder):
    """Returns config.json without the path that Python notes."""
    return {key: value for key, value in json.loads((folder / "config.json").read_text()).items() if key != "_name_or_path"}


def compared(case, work):
    """Saves a case by both, and returns it with what Python wrote and what it says of our folder."""
    python, halftone = Path(work) / "python", Path(work) / "halftone"
    for folder in (python, halftone):
        shutil.rmtree(folder, ignore_errors=True)
    save_by_python(case, python)
    save_by_halftone(case, halftone)
    name = weights_file(case)
    weights = (python / name).read_bytes()
    qmap = python / "quanto_qmap.json"
    kept = {"sha256": hashlib.sha256(weights).hexdigest(), "bytes": len(weights), "config": config_of(python)}
    if qmap.exists():
        kept["quantized"] = sorted(json.loads(qmap.read_text()))
    verdict = {
        "same_bytes": weights == (halftone / name).read_bytes(),
        "same_config": config_of(halftone) == kept["config"],
        "same_map": not qmap.exists() or json.loads(qmap.read_text()) == json.loads((halftone / "quanto_qmap.json").read_text()),
        **judge(case, python, halftone),
    }
    print(case["model"], case["layout"], case["dtype"], case["qtype"], *case["exclude"], verdict)
    keep_folder(case, python)
    return {**case, **kept, "verdict": verdict}


def main(names):
    be_quiet()
    warnings.simplefilter("ignore")
    OUT.mkdir(parents=True, exist_ok=True)
    about = {"script": "reference/quant_files.py", "seed": SEED, "versions": {**versions(), "optimum-quanto": quanto_version}}
    with tempfile.TemporaryDirectory() as work:
        if not names or "files" in names:
            done = [compared(case, work) for case in cases()]
            pipeline = judge_pipeline(Path(work))
            print("pipeline", pipeline)
            write_json(OUT / "files.json", {**about, "pipeline": pipeline, "cases": done})
        if not names or "auraflow" in names:
            write_json(OUT / "auraflow.json", {**about, "cases": [compared(case, work) for case in auraflow_cases()]})


def keep_folder(case, folder):
    """Keeps the smallest folders as they are, for the reader."""
    if case["model"] == "pixart-tiny":
        config = json.loads((folder / "config.json").read_text())
        config["_name_or_path"] = "tiny"
        shutil.rmtree(OUT / case["layout"], ignore_errors=True)
        shutil.copytree(folder, OUT / case["layout"])
        (OUT / case["layout"] / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
