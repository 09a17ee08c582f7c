"""Token ids of transformers' LlamaTokenizer, AuraFlow's: python reference/llama_tokenizer_ids.py

Writes test/fixtures/tokenizers/llama: two sentencepiece BPE models trained here ("bytes" as Llama's own: byte fallback, split digits, <unk> 0,
<s> 1, </s> 2; "stress": no bytes, so that unknown characters vanish, pieces that cross words, user-defined and control symbols), each also
as the tokenizer.json that transformers writes; ids.json, the ids of tokenizer_ids.py's strings by both; cases.json, what the files beside
them change (for tokenizer.json also its own post_processor and padding), decoding, and padding="max_length" with truncation=True.
"""

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import sentencepiece
import tokenizers
import transformers
from tokenizer_ids import OUT as SHARED
from tokenizer_ids import SEED, document, make_corpus, make_strings, rows, save, shortened, train
from transformers import LlamaTokenizerFast

OUT = SHARED / "llama"
FLAGS = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
TEXTS = [
    "", " ", "  two", "a red apple", "a <extra_id_0> b <extra_id_1>c </s> <pad>x<unk>", "</s> a", "</s>a", "<s>", "a<photo>b [B] c", "x <strip> y", "<nil> <a>x<b>",
    "\u2581a \u2581", "é☃ 仙人掌\n\t😀", "a cat , is n't it ? yes !", "[X] <sep> <cls>", "<0x41>", "12 345",
]  # fmt: skip
LENGTHS = (1, 2, 3, 8, 20)


def load(folder, source, files=None, patch=None):
    """Loads LlamaTokenizerFast from a folder with one of the two sources, JSON files put in place, and keys of tokenizer.json replaced."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copy(folder / source, copy)
        if patch:
            save(json.dumps({**json.loads((folder / source).read_text(encoding="utf-8")), **patch}), Path(copy) / source)
        for name, value in (files or {}).items():
            save(json.dumps(value), Path(copy) / name)
        return LlamaTokenizerFast.from_pretrained(copy)


def template(before, after):
    """A post-processor of tokenizer.json."""
    token = lambda text: {"SpecialToken": {"id": text, "type_id": 0}}
    single = [*map(token, before), {"Sequence": {"id": "A", "type_id": 0}}, *map(token, after)]
    ids = {"<s>": 1, "</s>": 2}
    special = {text: {"id": text, "ids": [ids[text]], "tokens": [text]} for text in (*before, *after)}
    return {"type": "TemplateProcessing", "single": single, "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": special}


def variants(size):
    """Files beside a model of `size` pieces, and changes of tokenizer.json: (name, files, patch of tokenizer.json or None for both sources)."""
    extra = [f"<extra_id_{index}>" for index in range(10)]
    decoder = {str(index): {"content": text, **FLAGS} for index, text in enumerate(["<unk>", "<s>", "</s>"])}
    sentinels = {str(size + index): {"content": text, **FLAGS} for index, text in enumerate(extra)}
    pile = {
        "add_bos_token": False, "add_eos_token": True, "additional_special_tokens": extra, "bos_token": "<s>", "clean_up_tokenization_spaces": False, "eos_token": "</s>", "legacy": True,
        "model_max_length": 512, "pad_token": "<pad>", "padding_side": "right", "sp_model_kwargs": {}, "spaces_between_special_tokens": False, "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>", "use_default_system_prompt": False,
    }  # fmt: skip
    odd = {
        str(size + 10): {"content": "<photo>", **FLAGS, "special": False}, str(size + 11): {"content": "[B]", **FLAGS, "normalized": True, "special": False},
        str(size + 12): {"content": "<strip>", **FLAGS, "lstrip": True, "rstrip": True},
    }  # fmt: skip
    config = lambda **changes: {"tokenizer_config.json": {**pile, **changes}}
    special = {"additional_special_tokens": extra, "eos_token": "</s>", "pad_token": "</s>", "unk_token": {"content": "<unk>", **{key: False for key in FLAGS if key != "special"}}}
    both = [
        ("no config", {}),
        ("pile-t5", config(added_tokens_decoder={**decoder, **sentinels})),
        ("pile-t5 without a decoder", config()),
        ("pile-t5 with its old files", {**config(), "special_tokens_map.json": special, "added_tokens.json": {text: size + index for index, text in enumerate(extra)}}),
        ("pad is eos", config(pad_token="</s>", legacy=False)),
        ("pad is unk", config(pad_token="<unk>", legacy=None, padding_side="left")),
        ("no side", {"tokenizer_config.json": {"pad_token": "<pad>", "add_bos_token": True}}),
        ("bos and eos", config(add_bos_token=True)),
        ("no bos", config(add_bos_token=True, bos_token=None)),
        ("no prefix", config(add_prefix_space=False, added_tokens_decoder={**decoder, **sentinels})),
        ("prefix, not legacy", config(add_prefix_space=True, legacy=False)),
        ("another eos", config(eos_token="<nil>")),
        ("odd tokens", config(added_tokens_decoder={**decoder, **sentinels, **odd})),
        ("split_special_tokens", config(split_special_tokens=True)),
        ("extra_special_tokens", {"tokenizer_config.json": {"pad_token": "<pad>", "extra_special_tokens": ["<a>", "<b>"], "model_max_length": 1e30}}),
    ]
    padding = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 2, "pad_type_id": 0, "pad_token": "</s>"}
    truncation = {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    old = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    own = [
        ("eos in the post-processor", config(), {"post_processor": template([], ["</s>"])}),
        ("bos and eos in the post-processor", config(), {"post_processor": template(["<s>"], ["</s>"])}),
        ("bos in the post-processor, not legacy", config(legacy=False), {"post_processor": template(["<s>"], [])}),
        ("no post-processor", config(add_bos_token=True), {"post_processor": None}),
        ("saved while it padded", {"tokenizer_config.json": {}}, {"padding": padding, "truncation": truncation, "post_processor": template([], ["</s>"])}),
        ("saved while it padded on the other side", {"tokenizer_config.json": {"padding_side": "left", "pad_token": "<pad>"}}, {"padding": padding}),
        ("steps of an older version", config(), {"normalizer": old, "pre_tokenizer": None, "post_processor": template([], ["</s>"])}),
    ]
    return [(source, name, files, None) for source in ("tokenizer.model", "tokenizer.json") for name, files in both] + [("tokenizer.json", *rest) for rest in own]


def describe(model, source, name, files, patch):
    tokenizer = load(OUT / model, source, files, patch)
    ids = [tokenizer(text).input_ids for text in TEXTS]
    found = {"model": model, "source": source, "name": name, "files": files, **({"patch": patch} if patch else {}), "length": len(tokenizer), "ids": ids}
    if tokenizer.pad_token is None:
        return {**found, "pad": None}
    limit = tokenizer.model_max_length
    padded = tokenizer("a red apple", padding="max_length", max_length=24, truncation=True)
    return {
        **found, "pad": tokenizer.pad_token_id, "side": tokenizer.padding_side, "limit": limit if limit < 1e29 else None, "decoded": [tokenizer.decode(row) for row in ids],
        "withoutSpecial": [tokenizer.decode(row, skip_special_tokens=True) for row in ids], "padded": [padded.input_ids, padded.attention_mask],
    }  # fmt: skip


def padding_cases():
    """Texts cut and padded by a tokenizer that adds both bos and eos, and by one that adds eos alone."""
    made = []
    for side, before in (("right", []), ("left", ["<s>"]), ("right", ["<s>"])):
        files = {"tokenizer_config.json": {"pad_token": "<unk>", "padding_side": side}}
        tokenizer = load(OUT / "bytes", "tokenizer.json", files, {"post_processor": template(before, ["</s>"])})
        for text in ("", "a red apple", "</s></s></s></s>", "cat " * 30):
            whole = tokenizer(text).input_ids
            for length in LENGTHS[len(before) :]:
                result = tokenizer(text, padding="max_length", max_length=length, truncation=True)
                kept = min(len(whole), length)
                made.append({"ids": whole, "length": length, "side": side, "inputIds": result.input_ids, "attentionMask": result.attention_mask, "cut": whole[kept - 1 : -1]})
    return made


def make_models(corpus):
    common = {"model_type": "bpe", "normalization_rule_name": "identity", "pad_id": -1, "unk_id": 0, "bos_id": 1, "eos_id": 2, "remove_extra_whitespaces": False}
    return {
        "bytes": train(corpus, **common, vocab_size=1500, character_coverage=0.98, byte_fallback=True, split_digits=True, allow_whitespace_only_pieces=True),
        "stress": train(
            corpus[:3000], **common, vocab_size=700, character_coverage=0.98, split_by_whitespace=False, split_by_unicode_script=False, max_sentencepiece_length=12,
            user_defined_symbols=["<sep>", "[X]", "    "], control_symbols=["<cls>"],
        ),
    }  # fmt: skip


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    draw = random.Random(SEED)
    corpus = make_corpus(draw, 9000)
    strings = make_strings(draw, corpus)
    texts = [part * times for _, part, times in strings]
    about = {
        "script": "reference/llama_tokenizer_ids.py", "seed": SEED,
        "versions": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__},
    }  # fmt: skip
    ids, decoded, described = {}, {}, []
    for name, proto in make_models(corpus).items():
        folder = OUT / name
        folder.mkdir(parents=True)
        (folder / "tokenizer.model").write_bytes(proto)
        config = {"tokenizer_config.json": {"pad_token": "<pad>", "legacy": name == "bytes", "add_eos_token": True}}
        with tempfile.TemporaryDirectory() as saved:
            load(folder, "tokenizer.model", config).save_pretrained(saved)
            written = json.loads((Path(saved) / "tokenizer.json").read_text(encoding="utf-8"))
            save(json.dumps(written, ensure_ascii=False, separators=(",", ":")) + "\n", folder / "tokenizer.json")
        save(json.dumps(config["tokenizer_config.json"]) + "\n", folder / "tokenizer_config.json")
        by_model, by_json = load(folder, "tokenizer.model", config), load(folder, "tokenizer.json", config)
        found = [by_model(text).input_ids for text in texts]
        again = [by_json(text).input_ids for text in texts]
        different = {str(index): b for index, (a, b) in enumerate(zip(found, again)) if a != b}
        ids[name] = "{" + f'"fromModel": {rows(map(shortened, found))},\n"fromJson": {json.dumps(different)}' + "}"
        print(f"{name}: {len(texts)} strings, {len(different)} of them with other ids from tokenizer.json, {len(by_model)} tokens")
        size = len(by_model)
        sequences = [found[index] for index in range(0, len(texts) - 6, 7)] + [[draw.randrange(size) for _ in range(12)] for _ in range(40)]
        sequences += [[0], [1], [2, 2], [3, 3, 3], [size + 5, 4], [5, size + 7, 6], [3 + 0xE2, 3 + 0x98], [3 + 0xE2, 3 + 0x98, 3 + 0x83, 3 + 0xFF], [3 + 0xEF, 3 + 0xBB, 3 + 0xBF]]
        decoded[name] = [[row, by_model.decode(row), by_model.decode(row, skip_special_tokens=True)] for row in sequences]
        pieces = len(sentencepiece.SentencePieceProcessor(model_proto=proto))
        described += [describe(name, *variant) for variant in variants(pieces)]
    save(document(about, **ids), OUT / "ids.json")
    save(document(about, texts=json.dumps(TEXTS), variants=rows(described), decoded=json.dumps(decoded), padding=rows(padding_cases())), OUT / "cases.json")
    for path in sorted(OUT.rglob("*.*")):
        print(f"{path.stat().st_size:>8} {path.relative_to(OUT)}")


if __name__ == "__main__":
    sys.exit(main())
