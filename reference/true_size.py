"""Writes a diffusers folder of a model's true size with random weights, for measuring memory and speed where real weights can't be had.

Names and shapes come from the real classes on torch's meta device; tensors are streamed into safetensors shards, so that memory holds
one small block of random numbers and never a tensor. The block has a prime number of values and is repeated: no two rows of a matrix
are equal, values look normal, and writing runs at the disk's speed. Scales are those of fixtures.weight_rule: activations stay finite.

usage: python reference/true_size.py --model pixart-sigma|sd3-medium|auraflow --output DIR [--t5-dtype bfloat16|float16|float32] [--clip-dtype D]
       [--transformer-dtype D] [--vae-dtype D] [--size true|tiny] [--seed N]
"""

import argparse
import json
import math
import shutil
import struct
import sys
import time
from pathlib import Path

import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
)
from diffusers import __version__ as diffusers_version
from huggingface_hub import split_torch_state_dict_into_shards
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from fixtures import DEMO, DTYPES, FIXTURES, be_quiet, folder_size, generator, weight_rule, write_json

BLOCK = 4_194_301  # prime
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
SHARD = "5GB"  # what the libraries split at when these checkpoints were published: T5-XXL is 2 shards in bfloat16, 4 in float32

T5_XXL = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}
SDXL_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
}
PIXART_SIGMA = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "num_layers": 28,
    "cross_attention_dim": 1152,
    "caption_channels": 4096,
    "sample_size": 128,
    "interpolation_scale": 2,
    "in_channels": 4,
    "out_channels": 8,
    "use_additional_conditions": False,
}
SD3_VAE = SDXL_VAE | {
    "latent_channels": 16,
    "scaling_factor": 1.5305,
    "shift_factor": 0.0609,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
SD3_MEDIUM = {
    "num_attention_heads": 24,
    "attention_head_dim": 64,
    "num_layers": 24,
    "caption_projection_dim": 1536,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
    "sample_size": 128,
    "in_channels": 16,
    "out_channels": 16,
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768}
CLIP_BIG_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
# The embedded tokenizer ends a text with its last id; the published config names an id (2) that no tokenizer gives, and means the highest.
CLIP_IDS = {"vocab_size": 49408, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
AURAFLOW = {
    "num_mmdit_layers": 4,
    "num_single_dit_layers": 32,
    "attention_head_dim": 256,
    "num_attention_heads": 12,
    "joint_attention_dim": 2048,
    "caption_projection_dim": 3072,
    "pos_embed_max_size": 9216,
    "sample_size": 64,
}
PILE_T5_XL = T5_XXL | {"d_model": 2048, "d_ff": 5120, "num_heads": 32}
TINY_T5 = {"d_model": 64, "d_ff": 96, "num_layers": 2, "num_heads": 2}
TINY_CLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 24}
TINY_VAE = {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4}
# A model: the pipeline's class and, for each part, its class and config ("tiny" overrides prove the writer without gigabytes); its
# scheduler; its tokenizers, by what writes one into a folder.
MODELS = {
    "pixart-sigma": {
        "class": "PixArtSigmaPipeline",
        "parts": {
            "text_encoder": (T5EncoderModel, T5_XXL, TINY_T5),
            "transformer": (
                PixArtTransformer2DModel,
                PIXART_SIGMA,
                {
                    "num_attention_heads": 2,
                    "attention_head_dim": 16,
                    "cross_attention_dim": 32,
                    "caption_channels": 64,
                    "num_layers": 2,
                    "sample_size": 16,
                    "interpolation_scale": 1,
                },
            ),
            "vae": (AutoencoderKL, SDXL_VAE, TINY_VAE),
        },
        "scheduler": lambda: DPMSolverMultistepScheduler(),
        "tokenizers": {"tokenizer": lambda folder: t5_tokenizer(folder)},
    },
    "sd3-medium": {
        "class": "StableDiffusion3Pipeline",
        "parts": {
            "text_encoder": (CLIPTextModelWithProjection, CLIP_L | CLIP_IDS, TINY_CLIP),
            "text_encoder_2": (CLIPTextModelWithProjection, CLIP_BIG_G | CLIP_IDS, TINY_CLIP),
            "text_encoder_3": (T5EncoderModel, T5_XXL, TINY_T5),
            "transformer": (
                SD3Transformer2DModel,
                SD3_MEDIUM,
                {
                    "num_attention_heads": 2,
                    "attention_head_dim": 16,
                    "caption_projection_dim": 32,
                    "joint_attention_dim": 64,
                    "pooled_projection_dim": 48,
                    "num_layers": 2,
                    "sample_size": 16,
                    "pos_embed_max_size": 16,
                },
            ),
            "vae": (AutoencoderKL, SD3_VAE, TINY_VAE),
        },
        "scheduler": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
        "tokenizers": {
            "tokenizer": lambda folder: clip_tokenizer(folder),
            "tokenizer_2": lambda folder: clip_tokenizer(folder, pad_token="!"),
            "tokenizer_3": lambda folder: t5_tokenizer(folder),
        },
    },
    "auraflow": {
        "class": "AuraFlowPipeline",
        "parts": {
            "text_encoder": (UMT5EncoderModel, PILE_T5_XL, TINY_T5),
            "transformer": (
                AuraFlowTransformer2DModel,
                AURAFLOW,
                {
                    "num_mmdit_layers": 1,
                    "num_single_dit_layers": 2,
                    "attention_head_dim": 16,
                    "num_attention_heads": 2,
                    "joint_attention_dim": 64,
                    "caption_projection_dim": 32,
                    "pos_embed_max_size": 256,
                },
            ),
            "vae": (AutoencoderKL, SDXL_VAE, TINY_VAE),
        },
        "scheduler": lambda: FlowMatchEulerDiscreteScheduler(shift=1.73),
        "tokenizers": {"tokenizer": lambda folder: llama_tokenizer(folder)},
    },
}


def t5_tokenizer(folder):
    """Writes the embedded model's tokenizer; returns its class. Its ids fit any T5."""
    shutil.copytree(DEMO / "tokenizer", folder)
    return "T5Tokenizer"


def clip_tokenizer(folder, **options):
    """Writes the tokenizer of the tests, 1,514 tokens; returns its class."""
    source = FIXTURES / "tokenizers" / "clip"
    CLIPTokenizer.from_pretrained(source, model_max_length=77, **options).save_pretrained(folder)
    return "CLIPTokenizer"


def llama_tokenizer(folder):
    """Writes the tokenizer of the tests' AuraFlow; returns its class."""
    shutil.copytree(FIXTURES / "pipelines" / "auraflow" / "tokenizer", folder)
    return "LlamaTokenizerFast"


# transformers' classes; the others are diffusers'.
CONFIGS = {T5EncoderModel: T5Config, UMT5EncoderModel: UMT5Config, CLIPTextModelWithProjection: CLIPTextConfig}


def meta_model(cls, config):
    """Builds the class without memory for its weights."""
    with torch.device("meta"):
        return cls(CONFIGS[cls](**config)) if cls in CONFIGS else cls(**config)


def parameters_of(model, dtype):
    """Returns {name: meta tensor in the dtype} as save_pretrained would write them: tied copies left out."""
    tied = getattr(model, "all_tied_weights_keys", {})
    return {name: value.to(dtype) for name, value in model.state_dict().items() if name not in tied}


def build(name, part, size):
    """Builds a model's part on the meta device."""
    cls, config, tiny = MODELS[name]["parts"][part]
    return meta_model(cls, {**config, **(tiny if size == "tiny" else {})})


def bytes_of(name, part, size, dtype):
    """Returns how many bytes a part's weights will take."""
    return sum(value.numel() * value.element_size() for value in parameters_of(build(name, part, size), dtype).values())


def write_shard(path, tensors, draw, d_kv):
    """Writes one safetensors file, tensor by tensor."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(path.name + ".part")
    with open(partial, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, tensor in tensors.items():
            write_tensor(file, name, tensor, draw, d_kv)
    partial.rename(path)


def write_tensor(file, name, tensor, draw, d_kv):
    """Streams one tensor's random values: a part of the block, scaled, over and over."""
    mean, factor, fan_in = weight_rule(name, tensor.shape, d_kv)
    count = tensor.numel()
    # Each tensor starts elsewhere in the block.
    start = int(torch.randint(BLOCK, (1,), generator=draw))
    values = torch.roll(write_tensor.block, -start)[:count]
    values = (mean + values * (factor / math.sqrt(fan_in))).to(tensor.dtype)
    data = memoryview(values.view(torch.uint8).numpy())
    left = count * tensor.element_size()
    while left > 0:
        written = file.write(data[: min(left, len(data))])
        left -= written


def write_component(folder, model, dtype, draw, stem, max_shard_size=SHARD):
    """Writes a part's weights, in shards with an index where they are more than one shard."""
    parameters = parameters_of(model, dtype)
    d_kv = getattr(model.config, "d_kv", None)
    split = split_torch_state_dict_into_shards(parameters, filename_pattern=stem + "{suffix}.safetensors", max_shard_size=max_shard_size)
    for filename, names in split.filename_to_tensors.items():
        write_shard(folder / filename, {name: parameters[name] for name in names}, draw, d_kv)
        print(f"{folder.name}/{filename}: {(folder / filename).stat().st_size:,} bytes", file=sys.stderr)
    if split.is_sharded:
        write_json(folder / f"{stem}.safetensors.index.json", {"metadata": split.metadata, "weight_map": split.tensor_to_filename})
    return sum(value.numel() for value in parameters.values())


def write_model(name, output, dtypes, size, seed):
    """Writes the whole folder; dtypes: {part: torch dtype}."""
    recipe = MODELS[name]
    draw = generator(seed)
    write_tensor.block = torch.randn(BLOCK, generator=draw)
    index = {"_class_name": recipe["class"], "_diffusers_version": diffusers_version}
    counts = {}
    for part, (cls, *_) in recipe["parts"].items():
        folder = output / part
        folder.mkdir(parents=True)
        model = build(name, part, size)
        if cls in CONFIGS:
            model.config.architectures = [cls.__name__]
            model.config.dtype = dtypes[part]
            model.config.save_pretrained(folder)
            # The tiny writer is also to show shards.
            limit = "400KB" if size == "tiny" else SHARD
            counts[part] = write_component(folder, model, dtypes[part], draw, "model", limit)
        else:
            model.save_config(folder)
            counts[part] = write_component(folder, model, dtypes[part], draw, "diffusion_pytorch_model")
        index[part] = ["transformers" if cls in CONFIGS else "diffusers", cls.__name__]
    scheduler = recipe["scheduler"]()
    scheduler.save_pretrained(output / "scheduler")
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    for tokenizer, write in recipe["tokenizers"].items():
        index[tokenizer] = ["transformers", write(output / tokenizer)]
    write_json(output / "model_index.json", index)
    return counts


def main():
    parser = argparse.ArgumentParser(description="Writes a checkpoint of a model's true size with random weights.")
    parser.add_argument("--model", choices=sorted(MODELS), required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--t5-dtype", choices=sorted(DTYPES), default="bfloat16")
    parser.add_argument("--clip-dtype", choices=sorted(DTYPES), default="float16")
    parser.add_argument("--transformer-dtype", choices=sorted(DTYPES), default="float16")
    parser.add_argument("--vae-dtype", choices=sorted(DTYPES), default="float32")
    parser.add_argument("--size", choices=("true", "tiny"), default="true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    be_quiet()
    if arguments.output.exists() and any(arguments.output.iterdir()):
        parser.error(f"{arguments.output} is not empty; name a new folder")
    by_kind = {
        T5EncoderModel: arguments.t5_dtype,
        UMT5EncoderModel: arguments.t5_dtype,
        CLIPTextModelWithProjection: arguments.clip_dtype,
        AutoencoderKL: arguments.vae_dtype,
    }
    parts = MODELS[arguments.model]["parts"]
    dtypes = {part: DTYPES[by_kind.get(cls, arguments.transformer_dtype)] for part, (cls, *_) in parts.items()}
    needed = sum(bytes_of(arguments.model, part, arguments.size, dtype) for part, dtype in dtypes.items())
    arguments.output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(arguments.output).free
    if free < needed * 1.01 + 2**20:
        parser.error(f"{arguments.output} needs {needed:,} bytes and its disk has {free:,} free")
    started = time.monotonic()
    counts = write_model(arguments.model, arguments.output, dtypes, arguments.size, arguments.seed)
    report = {"output": str(arguments.output), "bytes": folder_size(arguments.output), "parameters": counts}
    print(json.dumps({**report, "seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    main()
