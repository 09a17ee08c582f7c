"""Writes test/fixtures/quantized/: what the tiny models of test/fixtures/models calculate once Quanto has quantized them.

And what the tiny pipeline makes of a prompt when its parts are quantized (pipelines.json).

Each case loads a model as a pipeline's dtype would (`torch_dtype`), runs quantize() and freeze() of optimum-quanto in that dtype, widens
the frozen model to float32 and calls it with the inputs of that model's own fixture. Only the outputs are stored.

usage: python reference/quantized_models.py [NAME ...]        all, or the files named: io (T5, CLIP, PixArt and SD3), auraflow (UMT5 and AuraFlow), pipelines
"""

import json
import sys
import tempfile

import pipelines
import sd3
import torch
from diffusers import AuraFlowTransformer2DModel, PixArtTransformer2DModel, SD3Transformer2DModel
from fixtures import DTYPES, FIXTURES, be_quiet, versions, write_fixture
from optimum.quanto import freeze, qfloat8_e4m3fn, qfloat8_e4m3fnuz, qfloat8_e5m2, qint2, qint4, qint8, quantize
from optimum.quanto.tensor.grouped import ungroup
from optimum.quanto.tensor.weights.qbits import WeightQBitsTensor
from optimum.quanto.tensor.weights.qbytes import WeightQBytesTensor
from optimum.quanto.tensor.weights.tinygemm import TinyGemmWeightQBitsTensor
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModelWithProjection, T5EncoderModel, UMT5EncoderModel

QTYPES = {"qint8": qint8, "qint4": qint4, "qint2": qint2, "qfloat8_e4m3fn": qfloat8_e4m3fn, "qfloat8_e4m3fnuz": qfloat8_e4m3fnuz,
          "qfloat8_e5m2": qfloat8_e5m2}


def t5(model, inputs):
    """Returns the last hidden state of the fixture's padded batch."""
    return model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state


def clip(model, inputs):
    """Returns the projected vectors of the fixture's texts."""
    return model(input_ids=inputs["input_ids"]).text_embeds


def pixart(model, inputs):
    """Returns the predicted noise."""
    return model(
        hidden_states=inputs["hidden_states"],
        timestep=inputs["timestep"],
        encoder_hidden_states=inputs["encoder_hidden_states"],
        encoder_attention_mask=inputs["encoder_attention_mask"],
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
    ).sample


def sd3_transformer(model, inputs):
    """Returns the predicted flow."""
    return sd3.call_with(inputs)(model)


def auraflow(model, inputs):
    """Returns the predicted velocity."""
    return model(inputs["hidden_states"], encoder_hidden_states=inputs["encoder_hidden_states"], timestep=inputs["timestep"]).sample


# By the file that holds their outputs.
MODELS = {
    "io": {
        "t5": (T5EncoderModel, "short", t5, {}),
        "clip": (CLIPTextModelWithProjection, "short", clip, {}),
        "pixart-sigma": (PixArtTransformer2DModel, "non-square", pixart, {"exclude": "proj_out"}),
        "sd35-medium": (SD3Transformer2DModel, "non-square", sd3_transformer, {}),
        sd3.WIDE: (SD3Transformer2DModel, "float32", sd3_transformer, {}),
    },
    "auraflow": {
        "umt5": (UMT5EncoderModel, "short", t5, {}),
        "auraflow": (AuraFlowTransformer2DModel, "non-square", auraflow, {}),
    },
}


def widened(model):
    """Returns the frozen model with plain layers, whose weights are the float32 numbers that the quantized ones stand for.

    Quanto's own layers would quantize a plain weight again, at every call.
    """
    for name, child in list(model.named_modules()):
        weight = getattr(child, "weight", None)
        if isinstance(weight, WeightQBytesTensor | WeightQBitsTensor):
            owner, _, leaf = name.rpartition(".")
            model.get_submodule(owner).add_module(leaf, plain(child, dequantized(weight)))
    return model.to(torch.float32)


def plain(layer, weight):
    """Returns torch's own layer in place of Quanto's."""
    bias = layer.bias is not None
    if isinstance(layer, torch.nn.Linear):
        result = torch.nn.Linear(layer.in_features, layer.out_features, bias=bias)
    else:
        result = torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, bias=bias)
    result.weight = torch.nn.Parameter(weight, requires_grad=False)
    if bias:
        result.bias = torch.nn.Parameter(layer.bias.to(torch.float32), requires_grad=False)
    return result


def dequantized(weight):
    """Returns code * scale - shift, ungrouped to the weight's shape; scale and shift are widened first, so that nothing is rounded again."""
    if isinstance(weight, TinyGemmWeightQBitsTensor):
        weight = weight.weight_qbits_tensor()
    scale = weight._scale.to(torch.float32)
    if isinstance(weight, WeightQBytesTensor):
        return weight._data.to(torch.float32) * scale
    values = weight._data.unpack().to(torch.float32) * scale - weight._shift.to(torch.float32)
    return ungroup(values, axis=weight.axis, orig_shape=weight.shape)


def quantized(cls, folder, dtype, qtype, **options):
    """Loads a model in a dtype, quantizes it with Quanto in that dtype, and returns it with plain float32 layers."""
    model = cls.from_pretrained(folder, torch_dtype=DTYPES[dtype]).eval()
    quantize(model, weights=QTYPES[qtype], **options)
    freeze(model)
    return widened(model)


# Name, dtype, qtype of the transformer, of the text encoder, modules of the transformer that are left out.
PIPELINES = [
    ("qint8", "float32", "qint8", "qint8", None),
    ("qfloat8", "float32", "qfloat8_e4m3fn", "qfloat8_e4m3fn", None),
    ("qint4", "float32", "qint4", "qint4", None),
    ("qint4-without-proj_out", "float32", "qint4", None, "proj_out"),
    ("qint8-qfloat8", "float32", "qint8", "qfloat8_e4m3fn", None),
    ("qint8-float16", "float16", "qint8", "qint8", None),
    ("qint4-bfloat16", "bfloat16", "qint4", "qint4", None),
]


def pipeline_cases(folder=pipelines.TINY, kinds=PIPELINES):
    """Runs a tiny pipeline of pipelines.py with quantized parts: 20 steps, guided."""
    made = []
    for index, (name, dtype, transformer, text_encoder, exclude) in enumerate(kinds):
        pipeline = pipelines.load(folder, dtype)
        options = {} if exclude is None else {"exclude": exclude}
        pipeline.transformer = quantized(PixArtTransformer2DModel, folder / "transformer", dtype, transformer, **options)
        if text_encoder is not None:
            pipeline.text_encoder = quantized(T5EncoderModel, folder / "text_encoder", dtype, text_encoder)
        prompt = "A red fox, sitting in the snow"
        case = pipelines.case(folder, name, seed=40 + index, dtype=dtype, pipeline=pipeline, prompt=prompt, num_inference_steps=20)
        case["outputs"] = {key: case["outputs"][key] for key in ("final_latents", "picture")}
        spec = {"transformer": transformer} | ({} if text_encoder is None else {"text_encoder": text_encoder})
        made.append(case | {"quantization": {"spec": ",".join(f"{part}={qtype}" for part, qtype in spec.items()), **options}})
    return made


def write_models(file):
    """Writes the outputs of the models of one file: every dtype and qtype."""
    folder = FIXTURES / "quantized"
    folder.mkdir(parents=True, exist_ok=True)
    cases, tensors = [], {}
    drawn = tempfile.TemporaryDirectory()
    sd3.save_wide(drawn.name)
    for name, (cls, case, call, other) in MODELS[file].items():
        fixture = FIXTURES / "models" / name
        source = drawn.name if name == sd3.WIDE else fixture
        prefix = f"{case}.inputs."
        inputs = {key.removeprefix(prefix): value for key, value in load_file(fixture / "io.safetensors").items() if key.startswith(prefix)}
        for dtype in DTYPES:
            for qtype in QTYPES:
                for options in ({}, other) if other and qtype in ("qint4", "qint2") else ({},):
                    output = call(quantized(cls, source, dtype, qtype, **options), inputs)
                    key = "-".join([name, dtype, qtype, *("without-" + value for value in options.values())])
                    tensors[f"{key}.outputs.output"] = output.contiguous()
                    cases.append({"name": key, "model": name, "case": case, "dtype": dtype, "qtype": qtype, **options})
    save_file(tensors, folder / f"{file}.safetensors")
    about = {"script": "reference/quantized_models.py", "versions": versions(), "cases": cases}
    (folder / f"{file}.json").write_text(json.dumps(about, indent=2) + "\n")


def main(names):
    be_quiet()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    for name in names or ["pipelines", *MODELS]:
        if name == "pipelines":
            write_fixture(FIXTURES / "quantized", "pipelines", script="quantized_models.py", seed=40, cases=pipeline_cases(),
                          className="PixArtSigmaPipeline", pipeline="pipelines/tiny")
        else:
            write_models(name)


if __name__ == "__main__":
    main(sys.argv[1:])
