"""Token ids of transformers' CLIPTokenizer, for halftone's tokenizers: python reference/clip_tokenizer_ids.py

Writes test/fixtures/tokenizers/clip: vocab.json and merges.txt, trained here on text made here and laid out as OpenAI's are (bytes, bytes
that end a word, what each merge makes, the two special tokens), and tokenizer.json as transformers writes it; ids.json, the ids of all
strings of ../strings.json and of those below; cases.json, what tokenizer_config.json and the files beside it change, decoding, and
padding="max_length" with truncation=True. Run tokenizer_ids.py first: it writes ../strings.json.
"""

import json
import platform
import random
import shutil
import sys
import tempfile
from pathlib import Path

import tokenizers
import transformers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from tokenizer_ids import OUT as TOKENIZERS
from tokenizer_ids import document, make_corpus, rows, save, shortened

SEED = 21
OUT = TOKENIZERS / "clip"
MERGES = 1000
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
FLAGS = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}

STRINGS = [
    "<|startoftext|>", "<|endoftext|>", "a <|endoftext|> b", "a<|startoftext|>b<|endoftext|>", "<|STARTOFTEXT|> <|EndOfText|>", "<|STARTOFTEXT|>!", "!<|ENDOFTEXT|>", "<|startoftext", "|endoftext|>",
    "<|startoftext|><|startoftext|>", " <|endoftext|> ", "<|endoftext|>\u0301", "＜|endoftext|＞", "</w>", "a</w>b", "the</w>", "it's IT'S it'S", "'s 't 're 've 'm 'll 'd", "''s", "'dog 'll'll", "!'s !!'s", "x'd'", "’s it’s",
    "1234567890", "a1b2c3", "½1⅓", "²³", "१२३", "٣٤", "x٣y", "Ⅷ", "!", "!!", "!!!", "hi!", "! !", "a!b", "?!", "ΣΑΣ ΟΔΟΣ Σ σς", "İstanbul I ı", "ǅ ǆ", "ẞ ß", "ﬃ", "Ǆ", "\u1e9e", "ᏸᏰ", "Ა ა", "Ꙁ",
    "a\u0300A\u0300", "\u0300", "A\u030a\u0327", "\u0041\u030a", "가각 \u1100\u1161\u11a8", "\u2126 \u212a \u212b", "\u0958", "\ufb1d", "\u0344", "\u2adc", "\u1d15e",
    "\x1c\x1d a \x1e\x1f", "\x1ca", "a\x1c", "\x85a\x85", "_a_b_", "$9.99", "a-b–c", "e.g. i.e.", "a photo of a cat, 4k, (masterpiece:1.2)", "中1文2", "😀1😀a", "\ufffd", "a\u200db", "supercalifragilisticexpialidocious", "A" * 300, "antidis" * 40,
]  # fmt: skip


def byte_characters():
    """The 256 characters that stand for bytes, in the order of CLIP's vocabulary: the printable ones first."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(0x100 + index) for index in range(len(others))]


def train(lines):
    """Learns merges with CLIP's own normalizer and words, and returns vocabulary and merges."""
    proto = CLIPTokenizer()._tokenizer
    learner = tokenizers.Tokenizer(BPE(end_of_word_suffix="</w>"))
    learner.normalizer, learner.pre_tokenizer = proto.normalizer, proto.pre_tokenizer
    size = 512 + MERGES
    learner.train_from_iterator(lines, BpeTrainer(vocab_size=size, end_of_word_suffix="</w>", initial_alphabet=byte_characters(), show_progress=False))
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]][:MERGES]
    characters = byte_characters()
    tokens = [*characters, *(character + "</w>" for character in characters), *("".join(merge) for merge in merges), BOS, EOS]
    assert len(set(tokens)) == len(tokens)
    return {token: index for index, token in enumerate(tokens)}, merges


def load(files=None, without=()):
    """Loads CLIPTokenizer from a copy of the folder with some files left out and some JSON files put in place."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("vocab.json", "merges.txt", "tokenizer.json"):
            if name not in without and (OUT / name).exists():
                shutil.copy(OUT / name, copy)
        for name, value in (files or {}).items():
            save(json.dumps(value), Path(copy) / name)
        return CLIPTokenizer.from_pretrained(copy)


def config_variants(size):
    """What repositories put beside the vocabulary; `size` counts its tokens. The first two are Stable Diffusion 3's."""
    base = {
        "add_prefix_space": False, "bos_token": BOS, "clean_up_tokenization_spaces": True, "do_lower_case": True, "eos_token": EOS, "errors": "replace",
        "model_max_length": 77, "pad_token": EOS, "tokenizer_class": "CLIPTokenizer", "unk_token": EOS,
    }  # fmt: skip
    ends = {str(size - 2): {"content": BOS, **FLAGS, "normalized": True}, str(size - 1): {"content": EOS, **FLAGS, "normalized": True}}
    raw = {str(size - 2): {"content": BOS, **FLAGS}, str(size - 1): {"content": EOS, **FLAGS}}
    mark = {"0": {"content": "!", **FLAGS}}
    old = {"__type": "AddedToken", "content": EOS, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    special = {"bos_token": {key: value for key, value in old.items() if key != "__type"} | {"content": BOS}, "eos_token": EOS, "pad_token": "!", "unk_token": {**FLAGS, "content": EOS, "normalized": True}}
    plain = {**FLAGS, "special": False, "normalized": True}
    return {
        "CLIP-L's": {"tokenizer_config.json": {**base, "added_tokens_decoder": ends}},
        "bigG's": {"tokenizer_config.json": {**base, "added_tokens_decoder": {**mark, **raw}, "pad_token": "!"}},
        "no config": {},
        "no added_tokens_decoder": {"tokenizer_config.json": {**base, "bos_token": {**old, "content": BOS}, "eos_token": old, "unk_token": old}},
        "special_tokens_map": {"tokenizer_config.json": base, "special_tokens_map.json": special},
        "added_tokens": {"tokenizer_config.json": base, "added_tokens.json": {"<sks>": size, "<|endoftext|>": size - 1}},
        "new tokens": {"tokenizer_config.json": {**base, "added_tokens_decoder": {**raw, str(size): {"content": "<Sks>", **plain}, str(size + 1): {"content": " <cat-toy>", **plain, "lstrip": True}, str(size + 2): {"content": "the", **plain, "single_word": True}, str(size + 3): {"content": "<A>", **FLAGS, "normalized": True}}}},
        "extra_special_tokens": {"tokenizer_config.json": {**base, "extra_special_tokens": ["<a>", "<b>"]}},
        "additional_special_tokens": {"tokenizer_config.json": {**base, "added_tokens_decoder": raw, "additional_special_tokens": ["<a>", "of"]}},
        "additional_special_tokens of the map": {"special_tokens_map.json": {**special, "additional_special_tokens": ["<b>"]}},
        "other ends": {"tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "model_max_length": 20}},
        "split_special_tokens": {"tokenizer_config.json": {**base, "added_tokens_decoder": raw, "split_special_tokens": True}},
    }  # fmt: skip


def describe_variant(name, files, without):
    tokenizer = load(files, without)
    texts = [
        "", "a red apple", "a photo of the cat!", "! hi !! it's! ?!", "<|endoftext|> a <|startoftext|>b", "<|ENDOFTEXT|> x <|StartOfText|>", "<sks> <Sks> <SKS>x", "a <cat-toy>b  <CAT-TOY>", "the THE other the.",
        "<a>x<b> of often", "<s>x</s> <pad>", "caf\u00e9 e\u0301 \u212a \u2603",
    ]  # fmt: skip
    limit = tokenizer.model_max_length
    ids = [tokenizer(text).input_ids for text in texts]
    return {
        "name": name, "files": files, "pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id, "limit": limit if limit < 1e29 else None, "length": len(tokenizer),
        "texts": texts, "ids": ids, "decoded": [tokenizer.decode(row) for row in ids],
        "withoutSpecial": [tokenizer.decode(row, skip_special_tokens=True) for row in ids],
    }  # fmt: skip


def main():
    draw = random.Random(SEED)
    vocabulary, merges = train(make_corpus(draw, 3000))
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    save(json.dumps(vocabulary, ensure_ascii=False), OUT / "vocab.json")
    save("#version: 0.2\n" + "\n".join(" ".join(merge) for merge in merges) + "\n", OUT / "merges.txt")
    with tempfile.TemporaryDirectory() as saved:
        load().save_pretrained(saved)
        shutil.copy(Path(saved) / "tokenizer.json", OUT)

    texts = [part * times for _, part, times in json.loads((TOKENIZERS / "strings.json").read_text())["strings"]] + STRINGS
    from_text, from_json = load(without=("tokenizer.json",)), load(without=("vocab.json", "merges.txt"))
    ids = [from_text(text).input_ids for text in texts]
    different = {str(index): row for index, (text, row) in enumerate(zip(texts, (from_json(text).input_ids for text in texts))) if row != ids[index]}
    assert not different, different
    about = {
        "script": "reference/clip_tokenizer_ids.py", "seed": SEED,
        "versions": {"python": platform.python_version(), "transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
    }  # fmt: skip
    save(document(about, strings=rows(STRINGS), ids=rows(map(shortened, ids))), OUT / "ids.json")

    size = len(from_text)
    sequences = ids[: len(texts) - len(STRINGS) - 6 : 9] + ids[-len(STRINGS) : -2] + [[draw.randrange(size) for _ in range(12)] for _ in range(40)]
    sequences += [[0], [size - 1], [size - 2, 300], [size + 5, 4], [5, size + 7, 6], [], [188, 189, 190], [127, 255, 1]]
    decoded = [[row, from_text.decode(row), from_text.decode(row, skip_special_tokens=True)] for row in sequences]

    variants, json_variants = [], []
    for name, files in config_variants(size).items():
        variants.append(describe_variant(name, files, ("tokenizer.json",)))
        variant = describe_variant(name, files, ("vocab.json", "merges.txt"))
        json_variants.append({"name": name, "same": True} if variant == variants[-1] else variant)

    padding = []
    for name in ("CLIP-L's", "bigG's"):
        tokenizer = load(config_variants(size)[name])
        for text in ("", "a", "a red apple on a blue background!", "a <|endoftext|> b", "cat, " * 60):
            for length in (2, 3, 8, 77):
                result = tokenizer(text, padding="max_length", max_length=length, truncation=True)
                whole = tokenizer(text).input_ids
                # As diffusers names the text that did not fit.
                cut = whole[length - 1 : -1]
                padding.append({"name": name, "text": text, "length": length, "inputIds": result.input_ids, "attentionMask": result.attention_mask, "cut": cut, "cutText": tokenizer.batch_decode([cut])[0]})
    sections = {"variants": rows(variants), "jsonVariants": rows(json_variants), "decoded": json.dumps(decoded), "padding": rows(padding)}
    save(document(about, **sections), OUT / "cases.json")
    print(f"{len(texts)} strings, {size} tokens, {sum(path.stat().st_size for path in OUT.iterdir())} bytes in {OUT.name}")


if __name__ == "__main__":
    sys.exit(main())
