"""Writes test/fixtures/pipelines/sd3*: a whole Stable Diffusion 3 pipeline with tiny random models, and what the real pipeline makes of it.

test/fixtures/pipelines/sd3/ is a complete diffusers folder: two CLIPs of different widths, T5, the transformer, a VAE of 16 channels. Their
tokenizers are the first merges of test/fixtures/tokenizers/clip (the second encoder's pads with "!", as Stable Diffusion 3's does) and the
demo's. sd3.{json,safetensors} hold the cases, sd3-quantized.* those with parts that Quanto has quantized: every qtype, and every choice of
text encoders. `absent` of a case names parts that it runs without.

usage: python reference/sd3_pipelines.py        (after clip_tokenizer_ids.py)
"""

import itertools
import json
import shutil

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from fixtures import DEMO, DTYPES, FIXTURES, be_quiet, folder_size, generator, randomize, rounded, write_fixture
from pipelines import drift, initial_latents, pixels_of, run_flow
from quantized_models import QTYPES, quantized

FOLDER = FIXTURES / "pipelines"
TINY = FOLDER / "sd3"
SEED = 900
FOX = "A red fox, sitting in the snow"
SIZE = (32, 48)
MERGES = 32
CLASSES = {
    "text_encoder": CLIPTextModelWithProjection,
    "text_encoder_2": CLIPTextModelWithProjection,
    "text_encoder_3": T5EncoderModel,
    "transformer": SD3Transformer2DModel,
    "vae": AutoencoderKL,
}
ENCODERS = [name for name in CLASSES if name.startswith("text_encoder")]


def clip_tokenizer(**options):
    """Makes a tokenizer of the 512 bytes, the first merges and the two special tokens."""
    source = FIXTURES / "tokenizers" / "clip"
    lines = (source / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split(" ")) for line in lines if not line.startswith("#")][:MERGES]
    tokens = list(json.loads((source / "vocab.json").read_text(encoding="utf-8")))
    kept = [*tokens[: 512 + MERGES], *tokens[-2:]]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(kept)}, merges=merges, model_max_length=77, **options)


def clip_config(hidden_size, projection_dim, **options):
    """Describes a CLIP of three layers; ids and positions are those of the tokenizer."""
    vocab_size = 512 + MERGES + 2
    return CLIPTextConfig(
        vocab_size=vocab_size,
        bos_token_id=vocab_size - 2,
        eos_token_id=vocab_size - 1,
        pad_token_id=1,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        projection_dim=projection_dim,
        num_hidden_layers=3,
        num_attention_heads=2,
        **options,
    )


def write_tiny():
    """Writes the pipeline's folder."""
    shutil.rmtree(TINY, ignore_errors=True)
    t5 = T5Config(vocab_size=384, d_model=48, d_kv=12, d_ff=40, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        caption_projection_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=12,
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=16,
        sample_size=64,
        scaling_factor=1.5305,
        shift_factor=0.0609,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    StableDiffusion3Pipeline(
        tokenizer=clip_tokenizer(),
        text_encoder=randomize(CLIPTextModelWithProjection(clip_config(16, 12)), SEED, torch.float32),
        tokenizer_2=clip_tokenizer(pad_token="!"),
        text_encoder_2=randomize(CLIPTextModelWithProjection(clip_config(24, 20, hidden_act="gelu")), SEED + 1, torch.float32),
        tokenizer_3=T5Tokenizer.from_pretrained(DEMO / "tokenizer", extra_ids=0),
        text_encoder_3=randomize(T5EncoderModel(t5), SEED + 2, torch.float32),
        transformer=randomize(transformer, SEED + 3, torch.float32),
        vae=randomize(vae, SEED + 4, torch.float32),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    ).save_pretrained(TINY)
    as_published()


def as_published():
    """Gives the tokenizers the files that repositories have: vocab.json and merges.txt, tokenizer.json, spiece.model."""
    model = json.loads((TINY / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (TINY / "tokenizer" / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"])]
    (TINY / "tokenizer" / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name in ("tokenizer", "tokenizer_3"):
        (TINY / name / "tokenizer.json").unlink()
    shutil.copyfile(DEMO / "tokenizer" / "spiece.model", TINY / "tokenizer_3" / "spiece.model")


def load(dtype, overrides=None, absent=(), parts=None):
    """Loads the pipeline with weights rounded to a dtype and widened to float32; `parts` replace those of the folder."""
    overrides, parts = overrides or {}, dict(parts or {})
    for name, cls in CLASSES.items():
        if name in absent:
            parts[name] = None
        elif name not in parts:
            parts[name] = rounded(cls, TINY / name, DTYPES[dtype], **overrides.get(name, {}))
    tokenizers = {f"tokenizer{end}": (T5Tokenizer if end == "_3" else CLIPTokenizer).from_pretrained(TINY / f"tokenizer{end}") for end in ("", "_2", "_3")}
    if "text_encoder_3" in absent:
        tokenizers["tokenizer_3"] = None
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(TINY / "scheduler", **overrides.get("scheduler", {}))
    pipeline = StableDiffusion3Pipeline(**parts, **tokenizers, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(pipeline, latents, options):
    """Runs the pipeline and returns what happened: text, guided predictions, latents after each step, pictures."""
    return run_flow(pipeline, latents, options, lambda called: (called["encoder_hidden_states"], called["pooled_projections"]))


def case(name, seed, dtype="float32", config=None, absent=(), keep_text=False, brief=False, size=SIZE, parts=None, **options):
    """Makes one case. Latents are kept after steps 1 to 3 and the last; a brief one keeps the last and the picture."""
    pipeline = load(dtype, config, absent, parts)
    if size is not None:
        options |= {"height": size[0], "width": size[1]}
    side = pipeline.default_sample_size * pipeline.vae_scale_factor
    height, width = size or (side, side)
    latents = initial_latents(pipeline, dtype, seed, options.get("num_images_per_prompt", 1), height, width)
    result = run(pipeline, latents, options)
    if dtype == "float32":
        own = pixels_of(pipeline(generator=generator(seed), output_type="pil", **options).images)
        assert torch.equal(own, result["pixels"]), f"{name}: noise handed in and noise drawn differ"
    steps = result["steps"]
    outputs = {"final_latents": steps[-1], "picture": result["pixels"]}
    if not brief:
        outputs |= {"noise_first": result["noise"], "timesteps": pipeline.scheduler.timesteps, "pooled": result["text"][1]}
        outputs |= {f"latents_{index + 1}": value for index, value in enumerate(steps[:3])}
    if keep_text:
        outputs |= {"text": result["text"][0]}
    about = {"seed": seed, "dtype": dtype, "config": config or {}, "absent": list(absent), "options": options}
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
    others = {"prompt_2": "a castle", "prompt_3": "an apple, red", "negative_prompt": "blurry", "negative_prompt_2": "dark", "negative_prompt_3": "ugly"}
    long_prompt = " ".join(f"a {subject} and" for subject in ("fox", "castle", "apple", "robot") * 12)
    quarter = {"base_image_seq_len": 4, "max_image_seq_len": 64, "use_dynamic_shifting": True}
    return [
        case("defaults", 901, size=None, prompt=FOX),
        case("prompts-4", 902, keep_text=True, prompt=FOX, guidance_scale=4.0, **others, **short),
        case("negative-20", 903, size=(48, 32), prompt="a castle", negative_prompt="blurry, dark", num_inference_steps=20),
        case("no-guidance-20", 904, prompt=FOX, num_inference_steps=20, guidance_scale=1.0),
        case("one-step", 905, prompt="an apple", num_inference_steps=1),
        case("two-images-4", 906, prompt="two robots", num_images_per_prompt=2, **short),
        case("clip-skip-4", 907, keep_text=True, prompt=FOX, negative_prompt="dark", clip_skip=1, **short),
        case("clip-skip-2-no-guidance-4", 908, keep_text=True, prompt=FOX, clip_skip=2, guidance_scale=0.5, **short),
        case("long-prompt-1", 909, keep_text=True, prompt=long_prompt, num_inference_steps=1, max_sequence_length=12, guidance_scale=1.0),
        case("empty-prompt-4", 910, prompt="", **short),
        case("without-t5-20", 911, absent=["text_encoder_3"], prompt=FOX, num_inference_steps=20),
        case("without-t5-4", 912, absent=["text_encoder_3"], keep_text=True, prompt=FOX, negative_prompt_2="dark", **short),
        case("dynamic-shifting-10", 913, config={"scheduler": quarter}, size=(64, 48), prompt=FOX, num_inference_steps=10),
        case("skip-layers-20", 914, prompt=FOX, num_inference_steps=20, skip_guidance_layers=[1]),
        case(
            "skip-layers-two-images-5",
            915,
            prompt=FOX,
            num_inference_steps=5,
            num_images_per_prompt=2,
            skip_guidance_layers=[0],
            skip_layer_guidance_scale=1.5,
            skip_layer_guidance_start=-0.1,
            skip_layer_guidance_stop=0.6,
        ),
        case("float16-20", 916, dtype="float16", prompt=FOX, num_inference_steps=20),
        case("float16-4", 917, dtype="float16", keep_text=True, prompt=FOX, **short),
        case("bfloat16-20", 918, dtype="bfloat16", prompt=FOX, num_inference_steps=20),
    ]


def quantized_case(name, seed, qtypes, dtype="float32"):
    """Makes one case with parts that Quanto has quantized; qtypes: {part: qtype name}."""
    parts = {part: quantized(CLASSES[part], TINY / part, dtype, qtype) for part, qtype in qtypes.items()}
    made = case(name, seed, dtype=dtype, brief=True, parts=parts, prompt=FOX, num_inference_steps=6, max_sequence_length=20)
    return made | {"quantization": {"spec": ",".join(f"{part}={qtype}" for part, qtype in qtypes.items())}}


def quantized_cases():
    """Every qtype for all that is quantized, two in other dtypes, and every choice of text encoders."""
    whole = [*ENCODERS, "transformer"]
    made = [quantized_case(qtype, 950 + index, dict.fromkeys(whole, qtype)) for index, qtype in enumerate(QTYPES)]
    made.append(quantized_case("qint8-float16", 960, dict.fromkeys(whole, "qint8"), "float16"))
    made.append(quantized_case("qint4-bfloat16", 961, dict.fromkeys(whole, "qint4"), "bfloat16"))
    choices = [chosen for count in (1, 2, 3) for chosen in itertools.combinations(ENCODERS, count)]
    for index, chosen in enumerate(choices):
        made.append(quantized_case(f"encoders-{'-'.join(str(ENCODERS.index(part) + 1) for part in chosen)}", 970 + index, dict.fromkeys(chosen, "qint4")))
    return made


def main():
    be_quiet()
    torch.set_grad_enabled(False)
    write_tiny()
    about = {"script": "sd3_pipelines.py", "seed": SEED, "className": "StableDiffusion3Pipeline", "pipeline": "pipelines/sd3"}
    write_fixture(FOLDER, "sd3", cases=cases(), **about)
    write_fixture(FOLDER, "sd3-quantized", cases=quantized_cases(), **about)
    print(f"sd3: {folder_size(TINY) + sum(path.stat().st_size for path in FOLDER.glob('sd3*.*')):,} bytes; folder {folder_size(TINY):,}")


if __name__ == "__main__":
    main()
