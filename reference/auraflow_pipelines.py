"""Writes test/fixtures/pipelines/auraflow*: a whole AuraFlow pipeline with tiny random models, and what the real pipeline makes of it.

test/fixtures/pipelines/auraflow/ is a complete diffusers folder: UMT5, the transformer, the VAE, and the tokenizer "bytes" of
test/fixtures/tokenizers/llama as AuraFlow's repository has it (tokenizer.json, which adds </s>; padding on the right).
auraflow.{json,safetensors} hold the cases, auraflow-quantized.* those with parts that Quanto has quantized: every qtype, each part alone.

usage: python reference/auraflow_pipelines.py        (after llama_tokenizer_ids.py)
"""

import json
import shutil

import torch
from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, AutoencoderKL, FlowMatchEulerDiscreteScheduler
from transformers import LlamaTokenizerFast, UMT5Config, UMT5EncoderModel

from fixtures import DTYPES, FIXTURES, be_quiet, folder_size, generator, randomize, rounded, write_fixture, write_json
from llama_tokenizer_ids import template
from pipelines import drift, initial_latents, pixels_of, run_flow
from quantized_models import QTYPES, quantized

FOLDER = FIXTURES / "pipelines"
TINY = FOLDER / "auraflow"
SEED = 1000
FOX = "A red fox, sitting in the snow"
SIZE = (32, 48)
CLASSES = {"text_encoder": UMT5EncoderModel, "transformer": AuraFlowTransformer2DModel, "vae": AutoencoderKL}
D_MODEL = 24


def write_tokenizer():
    """Writes the tokenizer's files; returns the tokenizer that they make."""
    folder = TINY / "tokenizer"
    folder.mkdir(parents=True)
    source = json.loads((FIXTURES / "tokenizers" / "llama" / "bytes" / "tokenizer.json").read_text(encoding="utf-8"))
    source["post_processor"] = template([], ["</s>"])
    (folder / "tokenizer.json").write_text(json.dumps(source, ensure_ascii=False), encoding="utf-8")
    config = {
        "add_bos_token": False,
        "add_eos_token": True,
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "legacy": True,
        "model_max_length": 512,
        "pad_token": "<pad>",
        "padding_side": "right",
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
    }
    write_json(folder / "tokenizer_config.json", config)
    return LlamaTokenizerFast.from_pretrained(folder)


def write_tiny():
    """Writes the pipeline's folder."""
    shutil.rmtree(TINY, ignore_errors=True)
    # As published, the encoder knows more ids than its tokenizer has.
    vocab_size = -(-len(write_tokenizer()) // 16) * 16
    encoder = UMT5Config(vocab_size=vocab_size, d_model=D_MODEL, d_kv=12, d_ff=48, num_layers=2, num_heads=3, relative_attention_num_buckets=8)
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=D_MODEL,
        caption_projection_dim=32,
        pos_embed_max_size=144,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
        scaling_factor=0.13025,
    )
    for name, model in (("text_encoder", UMT5EncoderModel(encoder)), ("transformer", transformer), ("vae", vae)):
        model = randomize(model, SEED + len(name), torch.float32)
        # As published: the transformer in float16. The others are rounded on loading.
        (model.half() if name == "transformer" else model).save_pretrained(TINY / name)
    FlowMatchEulerDiscreteScheduler(shift=1.73).save_pretrained(TINY / "scheduler")
    index = {
        "_class_name": "AuraFlowPipeline",
        "_diffusers_version": "0.30.0.dev0",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "LlamaTokenizerFast"],
        "transformer": ["diffusers", "AuraFlowTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    write_json(TINY / "model_index.json", index)
    assert type(AuraFlowPipeline.from_pretrained(TINY)) is AuraFlowPipeline


def load(dtype, overrides=None, parts=None):
    """Loads the pipeline with weights rounded to a dtype and widened to float32; `parts` replace those of the folder."""
    overrides, parts = overrides or {}, dict(parts or {})
    for name, cls in CLASSES.items():
        if name not in parts:
            parts[name] = rounded(cls, TINY / name, DTYPES[dtype], **overrides.get(name, {}))
    tokenizer = LlamaTokenizerFast.from_pretrained(TINY / "tokenizer", **overrides.get("tokenizer", {}))
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(TINY / "scheduler", **overrides.get("scheduler", {}))
    pipeline = AuraFlowPipeline(**parts, tokenizer=tokenizer, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(pipeline, latents, options):
    """Runs the pipeline and returns what happened: text, guided predictions, latents after each step, pictures."""
    return run_flow(pipeline, latents, options, lambda called: called["encoder_hidden_states"])


def case(name, seed, dtype="float32", config=None, keep_text=False, brief=False, size=SIZE, parts=None, **options):
    """Makes one case. Latents are kept after steps 1 to 3 and the last; a brief one keeps the last and the picture."""
    pipeline = load(dtype, config, parts)
    options |= {"height": size[0], "width": size[1]}
    latents = initial_latents(pipeline, dtype, seed, options.get("num_images_per_prompt", 1), *size)
    result = run(pipeline, latents, options)
    if dtype == "float32":
        own = pixels_of(pipeline(generator=generator(seed), output_type="pil", **options).images)
        assert torch.equal(own, result["pixels"]), f"{name}: noise handed in and noise drawn differ"
    steps = result["steps"]
    outputs = {"final_latents": steps[-1], "picture": result["pixels"]}
    if not brief:
        outputs |= {"noise_first": result["noise"], "timesteps": pipeline.scheduler.timesteps}
        outputs |= {f"latents_{index + 1}": value for index, value in enumerate(steps[:3])}
    if keep_text:
        outputs |= {"text": result["text"]}
    about = {"seed": seed, "dtype": dtype, "config": config or {}, "options": options}
    moved = drift(pipeline, latents, options, result, run=run)
    print(
        f"{name}: drift {moved['drift']:.2g}, picture {moved['driftPicture']}/255, latents rms {steps[-1].pow(2).mean().sqrt():.3g}, "
        f"picture mean {result['pixels'].float().mean():.0f} std {result['pixels'].float().std():.0f}",
        flush=True,
    )
    return {"name": name, **about, **moved, "outputs": outputs}


def cases():
    """All cases of the float pipeline."""
    short = {"num_inference_steps": 4, "max_sequence_length": 20}
    long_prompt = " ".join(f"a {subject} and" for subject in ("fox", "castle", "apple", "robot") * 24)
    left = {"tokenizer": {"padding_side": "left"}}
    return [
        case("defaults", 1001, prompt=FOX),
        case("prompts-4", 1002, keep_text=True, prompt="an apple, red", negative_prompt="blurry, dark", guidance_scale=7.0, **short),
        case("negative-20", 1003, size=(48, 32), prompt="a castle", negative_prompt="blurry, dark", num_inference_steps=20),
        case("no-guidance-20", 1004, size=(96, 64), prompt=FOX, num_inference_steps=20, guidance_scale=1.0),
        case("one-step", 1005, prompt="an apple", num_inference_steps=1),
        case("two-images-4", 1006, prompt="two robots", negative_prompt="dark", num_images_per_prompt=2, **short),
        case("two-images-no-guidance-4", 1007, prompt="two robots", num_images_per_prompt=2, guidance_scale=0.0, **short),
        case("long-prompt-2", 1008, keep_text=True, size=(32, 32), prompt=long_prompt, num_inference_steps=2, guidance_scale=1.0),
        case("cut-prompt-2", 1009, keep_text=True, size=(32, 32), prompt=long_prompt, num_inference_steps=2, max_sequence_length=12),
        case("empty-prompt-4", 1010, keep_text=True, prompt="", **short),
        case("unprepared-prompt-4", 1011, keep_text=True, prompt="  A Red  FOX \n", **short),
        case("left-padding-4", 1012, keep_text=True, config=left, prompt="an apple", negative_prompt="a dark, blurry picture", **short),
        case("shift-10", 1013, config={"scheduler": {"shift": 3.0}}, prompt=FOX, num_inference_steps=10),
        case("float16-20", 1014, dtype="float16", prompt=FOX, num_inference_steps=20),
        case("float16-4", 1015, dtype="float16", keep_text=True, prompt=FOX, **short),
        case("bfloat16-20", 1016, dtype="bfloat16", prompt=FOX, num_inference_steps=20),
    ]


def quantized_case(name, seed, qtypes, dtype="float32", exclude=None):
    """Makes one case with parts that Quanto has quantized; qtypes: {part: qtype name}; `exclude` counts for the transformer."""
    without = {} if exclude is None else {"exclude": exclude}
    parts = {part: quantized(CLASSES[part], TINY / part, dtype, qtype, **(without if part == "transformer" else {})) for part, qtype in qtypes.items()}
    made = case(name, seed, dtype=dtype, brief=True, parts=parts, prompt=FOX, num_inference_steps=6, max_sequence_length=20)
    return made | {"quantization": {"spec": ",".join(f"{part}={qtype}" for part, qtype in qtypes.items()), **without}}


def quantized_cases():
    """Every qtype for both parts, two in other dtypes, each part alone."""
    both = ["text_encoder", "transformer"]
    made = [quantized_case(qtype, 1050 + index, dict.fromkeys(both, qtype)) for index, qtype in enumerate(QTYPES)]
    made.append(quantized_case("qint8-float16", 1060, dict.fromkeys(both, "qint8"), "float16"))
    made.append(quantized_case("qint4-bfloat16", 1061, dict.fromkeys(both, "qint4"), "bfloat16"))
    made.append(quantized_case("text_encoder-qint4", 1062, {"text_encoder": "qint4"}))
    made.append(quantized_case("transformer-qint4", 1063, {"transformer": "qint4"}))
    made.append(quantized_case("transformer-qint2-without-proj_out", 1064, {"transformer": "qint2"}, exclude="proj_out"))
    made.append(quantized_case("qint4-and-qint8", 1065, {"text_encoder": "qint8", "transformer": "qint4"}))
    return made


def main():
    be_quiet()
    torch.set_grad_enabled(False)
    write_tiny()
    about = {"script": "auraflow_pipelines.py", "seed": SEED, "className": "AuraFlowPipeline", "pipeline": "pipelines/auraflow"}
    write_fixture(FOLDER, "auraflow", cases=cases(), **about)
    write_fixture(FOLDER, "auraflow-quantized", cases=quantized_cases(), **about)
    print(f"auraflow: {folder_size(TINY) + sum(path.stat().st_size for path in FOLDER.glob('auraflow*.*')):,} bytes; folder {folder_size(TINY):,}")


if __name__ == "__main__":
    main()
