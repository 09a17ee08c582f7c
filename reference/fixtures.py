"""What the fixture scripts share: versions, seeds, random weights, and writing tensors + JSON.

A fixture is a pair: NAME.safetensors holds the tensors of every case under "<case>.<tensor>", NAME.json says what they are and by
which script, seed and library versions they were made. One thread, so that sums are split the same way on every machine.
"""

import json
import math
import os
import platform
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "test" / "fixtures"
DEMO = ROOT / "models" / "demo"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

os.environ["HF_HUB_OFFLINE"] = "1"
torch.set_num_threads(1)
torch.set_grad_enabled(False)


def be_quiet():
    """Turns off the libraries' progress bars and remarks."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def versions():
    """Returns the versions of the libraries that decide the numbers."""
    import diffusers
    import numpy
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }


def generator(seed):
    """Returns torch's CPU generator with this seed."""
    return torch.Generator("cpu").manual_seed(seed)


def weight_rule(name, shape, d_kv=None):
    """Says how a parameter is drawn: (mean, factor, fan_in), where std = factor / sqrt(fan_in), so that no path is silenced by a 0 or 1.

    Matrices and convolutions: 1/sqrt(fan_in). Norm weights: about 1. Biases: small. T5's query has 1/sqrt(fan_in * d_kv), as that
    model does not scale its scores. Embedding tables and tables of modulation: of the size of what they are added to.
    """
    owner, _, leaf = name.rpartition(".")
    if leaf in ("scale_shift_table", "register_tokens") or name == "pos_embed.pos_embed":
        return 0, 0.5, 1
    if leaf == "bias":
        return 0, 0.1, 1
    if len(shape) < 2 or (leaf == "weight" and "norm" in owner.rsplit(".", 1)[-1]):
        return 1, 0.2, 1
    if any(part in name for part in ("relative_attention_bias", "shared", "embed_tokens", "token_embedding", "position_embedding")):
        return 0, 1, 1
    fan_in = math.prod(shape[1:])
    if d_kv is not None and name.endswith("SelfAttention.q.weight"):
        fan_in *= d_kv
    return 0, 1, fan_in


def randomize(model, seed, store=torch.float16):
    """Draws every parameter anew by `weight_rule` and rounds it to what `store` can hold."""
    draw = generator(seed)
    d_kv = getattr(getattr(model, "config", None), "d_kv", None)
    for name, parameter in sorted(model.named_parameters()):
        mean, factor, fan_in = weight_rule(name, parameter.shape, d_kv)
        value = mean + factor * torch.randn(parameter.shape, generator=draw) / math.sqrt(fan_in)
        parameter.data.copy_(value.to(store).float())
    return model.eval()


def rounded(cls, folder, dtype, **options):
    """Loads a checkpoint as the real class does for `dtype`, then widens every weight to float32 (buffers stay what float32 makes them)."""
    narrow = cls.from_pretrained(folder, torch_dtype=dtype, **options)
    wide = cls.from_pretrained(folder, torch_dtype=torch.float32, **options)
    state = {name: value.float() for name, value in narrow.state_dict().items()}
    wide.load_state_dict(state)
    return wide.eval()


def relative_rms(got, want):
    """Returns RMS(got - want) / RMS(want), in float64."""
    difference = got.double() - want.double()
    return float(difference.pow(2).mean().sqrt() / want.double().pow(2).mean().sqrt().clamp_min(1e-300))


def record(root, watched):
    """Watches modules: {label: module or dotted path in root}. Returns (dict that fills with their outputs, function that stops watching)."""
    found = {}

    def keep(label):
        def hook(_module, _inputs, output):
            values = output if isinstance(output, tuple) else (output,)
            tensors = [value for value in values if torch.is_tensor(value)]
            if len(tensors) == 1 or label.startswith("block"):
                found[label] = tensors[0]
            else:
                for index, tensor in enumerate(tensors):
                    found[f"{label}.{index}"] = tensor

        return hook

    handles = []
    for label, module in watched.items():
        module = root.get_submodule(module) if isinstance(module, str) else module
        handles.append(module.register_forward_hook(keep(label)))
    return found, lambda: [handle.remove() for handle in handles]


def write_json(path, value):
    """Writes indented JSON with a newline at its end; arrays of numbers stay on one line."""
    import re

    text = json.dumps(value, indent=2, ensure_ascii=False)
    text = re.sub(r"\[\s+([-\d.eE+, \n]+?)\s+\]", lambda match: "[" + re.sub(r"\s+", " ", match.group(1)) + "]", text)
    path.write_text(text + "\n", encoding="utf-8")


def tensors_of(group):
    """Makes tensors plain: contiguous, on their own, booleans as uint8."""
    plain = {}
    for name, tensor in group.items():
        tensor = tensor.detach()
        if tensor.dtype == torch.bool:
            tensor = tensor.to(torch.uint8)
        plain[name] = tensor.clone().contiguous()
    return plain


def write_fixture(folder, name, *, script, seed, cases, **about):
    """Writes folder/NAME.safetensors and folder/NAME.json.

    cases: [{"name", "inputs": {..}, "outputs": {..}, anything else that JSON can hold}]. The tensors of inputs and outputs get the
    keys "<case>.inputs.<tensor>" and "<case>.outputs.<tensor>"; the JSON keeps their shapes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored, described = {}, []
    for case in cases:
        entry = {key: value for key, value in case.items() if key not in ("inputs", "outputs")}
        for side in ("inputs", "outputs"):
            group = tensors_of(case.get(side, {}))
            entry[side] = {label: list(tensor.shape) for label, tensor in group.items()}
            stored.update({f"{case['name']}.{side}.{label}": tensor for label, tensor in group.items()})
            for label, tensor in group.items():
                if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
                    raise ValueError(f"{folder.name}/{name}: {case['name']}.{side}.{label} is not finite")
        described.append(entry)
    save_file(stored, folder / f"{name}.safetensors")
    write_json(folder / f"{name}.json", {"script": f"reference/{script}", "seed": seed, "versions": versions(), **about, "cases": described})


def folder_size(folder):
    """Returns the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def float64_error(model, call, outputs):
    """Returns {output: relative RMS of the float32 result against the same module computed in float64}: the noise floor of a tolerance.

    call(model, cast) runs the module and returns the same outputs; `cast` widens an input.
    """
    import copy

    wide = call(copy.deepcopy(model).double(), lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    return {name: relative_rms(outputs[name], wide[name]) for name in outputs if outputs[name].is_floating_point()}


def run_case(model, name, inputs, call, **about):
    """Makes one case: calls the module in float32, and in float64 for `float64Error`."""
    outputs = call(model, lambda tensor: tensor)
    outputs = {label: tensor.detach().clone() for label, tensor in outputs.items()}
    error = float64_error(model, call, outputs)
    return {"name": name, **about, "inputs": inputs, "outputs": outputs, "float64Error": {key: float(f"{value:.3g}") for key, value in error.items()}}
