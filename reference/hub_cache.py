"""The Hub's cache: Python's huggingface_hub and diffusers beside ours, on one fake Hub. Writes test/fixtures/hub-cache/.

What diffusers fetches of a repository becomes selection.json, what huggingface_hub leaves on disk becomes layout.json; both are pinned by
tests that need Node alone. Beyond that, each side reads here what the other side wrote, with the Hub switched off. Needs `npm ci`.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

OUT = Path("test/fixtures/hub-cache")
REPOSITORIES = OUT / "repositories.json"
PROGRAM = "node_modules/.cache/halftone-hub-program/test/support/hub-program.js"
SEED = 4
MAIN, TAG, OLD = "c" * 40, "a" * 40, "0123456789abcdef0123456789abcdef01234567"
checks = 0


def weights(size: int) -> dict:
    weights.count += 1
    return {"bytes": size, "seed": SEED + weights.count}


weights.count = 0


def index(class_name: str, **components: list) -> str:
    return json.dumps({"_class_name": class_name, "_diffusers_version": "0.42.1", **components}, indent=2)


def shards(*names: str) -> str:
    return json.dumps({"metadata": {"total_size": 1}, "weight_map": {f"layer.{i}": name for i, name in enumerate(names)}})


def sigma() -> dict:
    """The files of PixArt-Sigma's repository, sharded text encoder included."""
    components = {
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    return {
        ".gitattributes": "*.safetensors filter=lfs\n",
        "README.md": "# A model\n",
        "asset/sample.png": weights(900),
        "model_index.json": index("PixArtSigmaPipeline", **components),
        "scheduler/scheduler_config.json": '{"_class_name": "DPMSolverMultistepScheduler"}',
        "text_encoder/config.json": '{"architectures": ["T5EncoderModel"]}',
        "text_encoder/model-00001-of-00002.safetensors": weights(5000),
        "text_encoder/model-00002-of-00002.safetensors": weights(3000),
        "text_encoder/model.safetensors.index.json": shards("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        "tokenizer/added_tokens.json": "{}",
        "tokenizer/special_tokens_map.json": '{"eos_token": "</s>"}',
        "tokenizer/spiece.model": weights(800),
        "tokenizer/tokenizer_config.json": '{"model_max_length": 300}',
        "transformer/config.json": '{"_class_name": "Transformer2DModel"}',
        "transformer/diffusion_pytorch_model.safetensors": weights(7000),
        "vae/config.json": '{"_class_name": "AutoencoderKL"}',
        "vae/diffusion_pytorch_model.safetensors": weights(2000),
    }


def medium() -> dict:
    """As Stable Diffusion 3's: variants in some parts, single files at the root, other frameworks' weights beside."""
    model = ["diffusers", "AutoencoderKL"]
    components = {
        "feature_extractor": [None, None],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_3": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "tokenizer_3": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": model,
    }
    plain = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    half = ["model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"]
    tokenizer = {"merges.txt": "#version: 0.2\n", "vocab.json": "{}", "special_tokens_map.json": "{}", "tokenizer_config.json": "{}"}
    return {
        "LICENSE": "words\n",
        "README.md": "# A model\n",
        "big_single_file.safetensors": weights(40_000),
        "text_encoders/clip_g.safetensors": weights(4000),
        "picture.jpg": "no picture",
        "model_index.json": index("StableDiffusion3Pipeline", **components),
        "scheduler/scheduler_config.json": "{}",
        "text_encoder/config.json": "{}",
        "text_encoder/model.safetensors": weights(600),
        "text_encoder/model.fp16.safetensors": weights(300),
        "text_encoder/pytorch_model.bin": weights(601),
        "text_encoder/flax_model.msgpack": weights(602),
        "text_encoder/model.onnx": weights(603),
        "text_encoder_2/config.json": "{}",
        "text_encoder_2/model.safetensors": weights(650),
        "text_encoder_2/model.fp16.safetensors": weights(350),
        "text_encoder_3/config.json": "{}",
        **{f"text_encoder_3/{name}": weights(500) for name in plain + half},
        "text_encoder_3/model.safetensors.index.json": shards(*plain),
        "text_encoder_3/model.safetensors.index.fp16.json": shards(*half),
        **{f"tokenizer/{name}": text for name, text in tokenizer.items()},
        **{f"tokenizer_2/{name}": text for name, text in tokenizer.items()},
        "tokenizer_3/spiece.model": weights(100),
        "tokenizer_3/tokenizer.json": "{}",
        "tokenizer_3/tokenizer_config.json": "{}",
        "transformer/config.json": "{}",
        "transformer/diffusion_pytorch_model.safetensors": weights(1500),
        "vae/config.json": "{}",
        "vae/diffusion_pytorch_model.safetensors": weights(700),
        "vae/diffusion_pytorch_model.bin": weights(701),
        "vae/diffusion_pytorch_model.fp16.safetensors": weights(400),
    }


def legacy() -> dict:
    """Shards of a variant as they were named before diffusers 0.32."""
    files = {path: content for path, content in sigma().items() if not path.startswith("text_encoder/model")}
    names = ["model-00001-of-00002.fp16.safetensors", "model-00002-of-00002.fp16.safetensors"]
    return {
        **files,
        **{f"text_encoder/{name}": weights(300) for name in names},
        "text_encoder/model.safetensors.fp16.index.json": shards(*names),
        "text_encoder/model.safetensors": weights(500),
    }


def repositories() -> dict:
    old = sigma()
    new = {**old, "scheduler/scheduler_config.json": '{"_class_name": "DPMSolverMultistepScheduler", "solver_order": 2}'}
    return {
        "maker/sigma": {"refs": {"main": MAIN, "v1": TAG, "refs/pr/7": OLD}, "commits": {MAIN: new, TAG: old, OLD: old}},
        "maker/medium": {"refs": {"main": TAG}, "commits": {TAG: medium()}},
        "maker/legacy": {"refs": {"main": OLD}, "commits": {OLD: legacy()}},
    }


@contextlib.contextmanager
def fake_hub(port: int = 0):
    process = subprocess.Popen(["node", PROGRAM, "serve", str(REPOSITORIES), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())["endpoint"]
    finally:
        process.stdin.close()
        process.wait()


def resolve(repository: str, cache: Path, **options) -> dict:
    text = json.dumps({"cacheDir": str(cache), **options})
    done = subprocess.run(["node", PROGRAM, "resolve", repository, text], capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert "model" in result, result
    return result


def layout(cache: Path) -> dict:
    """Every file and link of a cache, without the lock files of Python's library."""
    found = {}
    for path in sorted(cache.rglob("*")):
        name = path.relative_to(cache).as_posix()
        if name.startswith(".locks") or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = {"link": os.readlink(path)}
        elif name == "CACHEDIR.TAG":
            found[name] = {"text": path.read_text().splitlines()[0]}
        elif "/blobs/" in name:
            found[name] = {"bytes": path.stat().st_size}
        else:
            found[name] = {"text": path.read_text()}
    return found


def check(what: str, holds: bool) -> None:
    global checks
    checks += 1
    print(f"{'ok  ' if holds else 'FAIL'} {what}")
    if not holds:
        sys.exit(1)


def snapshot_files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def record_selection(scratch: Path) -> list[dict]:
    from diffusers import DiffusionPipeline

    cases = []
    for repository in ("maker/sigma", "maker/medium", "maker/legacy"):
        for variant in (None, "fp16", "bf16"):
            cache = scratch / f"selection-{repository.replace('/', '-')}-{variant}"
            try:
                folder = DiffusionPipeline.download(repository, cache_dir=cache, variant=variant)
                cases.append({"id": repository, "variant": variant, "files": snapshot_files(Path(folder))})
            except ValueError as error:
                cases.append({"id": repository, "variant": variant, "error": str(error)})
    return cases


def python_reads_ours(scratch: Path) -> None:
    """The cache that resolveModel wrote, read by Python without a network."""
    from diffusers import DiffusionPipeline
    from huggingface_hub import get_cached_repo_tree, hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache

    cache = scratch / "ours"
    folder = Path(resolve("maker/sigma", cache)["model"]["folder"])
    resolve("maker/sigma", cache, revision="v1")
    resolve("maker/sigma", cache, revision="refs/pr/7")
    resolve("maker/medium", cache, variant="fp16")
    folders = {name: f"{name}/*" for name in ("scheduler", "text_encoder", "tokenizer", "transformer", "vae")}
    patterns = ["model_index.json", *folders.values()]

    found = snapshot_download("maker/sigma", cache_dir=cache, local_files_only=True, allow_patterns=patterns)
    check("snapshot_download(local_files_only=True) finds our snapshot", Path(found) == folder)
    for revision in ("v1", "refs/pr/7", MAIN):
        found = snapshot_download("maker/sigma", cache_dir=cache, revision=revision, local_files_only=True, allow_patterns=patterns)
        check(f"... and that of revision {revision[:12]}", Path(found).is_dir())
    for path in snapshot_files(folder):
        got = hf_hub_download("maker/sigma", path, cache_dir=cache, local_files_only=True)
        assert Path(got) == folder / path and try_to_load_from_cache("maker/sigma", path, cache_dir=cache) == got, path
    check("hf_hub_download and try_to_load_from_cache find every file of it", True)
    check("get_cached_repo_tree reads our listing", len(get_cached_repo_tree("maker/sigma", cache_dir=cache)) == len(sigma()))
    for repository, variant in (("maker/sigma", None), ("maker/medium", "fp16")):
        found = DiffusionPipeline.download(repository, cache_dir=cache, variant=variant, local_files_only=True)
        check(f"DiffusionPipeline.download(local_files_only=True) is content with {repository}, variant {variant}", Path(found).is_dir())

    scan = scan_cache_dir(cache)
    check("scan_cache_dir has no warnings", scan.warnings == [] and len(scan.incomplete_files) == 0)
    repository = next(repo for repo in scan.repos if repo.repo_id == "maker/sigma")
    refs = {ref: revision.commit_hash for revision in repository.revisions for ref in revision.refs}
    check("scan_cache_dir sees the refs", refs == {"main": MAIN, "v1": TAG, "refs/pr/7": OLD})
    shared = sum(path.stat().st_size for path in (cache / "models--maker--sigma" / "blobs").iterdir())
    check("blobs are shared between revisions", repository.size_on_disk == shared)


def we_read_pythons(scratch: Path, endpoint: str) -> dict:
    """The cache that Python wrote, read by resolveModel; returns its layout."""
    from diffusers import DiffusionPipeline

    theirs, ours = scratch / "theirs", scratch / "ours-alone"
    DiffusionPipeline.download("maker/sigma", cache_dir=theirs)
    before = layout(theirs)
    result = resolve("maker/sigma", theirs, offline=True)
    check("resolveModel offline finds Python's snapshot", result["model"]["folder"] == str(theirs / "models--maker--sigma" / "snapshots" / MAIN))
    result = resolve("maker/sigma", theirs)
    check("resolveModel online fetches nothing again", result["events"] == [] and layout(theirs) == before)
    resolve("maker/sigma", ours)
    check("both write the same layout, file by file", layout(ours) == before)

    older = scratch / "older"
    shutil.copytree(theirs, older, symlinks=True)
    shutil.rmtree(older / "models--maker--sigma" / "trees")
    check("... and of a version that keeps no listing", "model" in resolve("maker/sigma", older, offline=True))
    return before


def main() -> None:
    subprocess.run(["npx", "tsc", "-p", "test/support/hub-program.tsconfig.json"], check=True, stderr=subprocess.DEVNULL)
    OUT.mkdir(parents=True, exist_ok=True)
    REPOSITORIES.write_text(json.dumps(repositories(), indent=1) + "\n")
    with tempfile.TemporaryDirectory() as name, fake_hub() as endpoint:
        scratch = Path(name).resolve()
        os.environ.update(HF_ENDPOINT=endpoint, HF_HOME=str(scratch / "home"), HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1")
        for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            os.environ.pop(variable, None)
        import diffusers
        import huggingface_hub

        diffusers.utils.logging.set_verbosity_error()
        versions = {"huggingface_hub": huggingface_hub.__version__, "diffusers": diffusers.__version__}
        about = {"script": "reference/hub_cache.py", "seed": SEED, "versions": versions}
        selection = record_selection(scratch)
        python_layout = we_read_pythons(scratch, endpoint)
        python_reads_ours(scratch)
        (OUT / "selection.json").write_text(json.dumps({**about, "cases": selection}, indent=1) + "\n")
        (OUT / "layout.json").write_text(json.dumps({**about, "id": "maker/sigma", "commit": MAIN, "layout": python_layout}, indent=1) + "\n")
    print(f"{checks} checks passed")


if __name__ == "__main__":
    main()
