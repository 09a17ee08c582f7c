"""Token ids of transformers' T5Tokenizer, for halftone's tokenizers: python reference/tokenizer_ids.py

Writes test/fixtures/tokenizers: two sentencepiece models trained here on text made here ("multilingual" as T5's own: unigram, nmt_nfkc,
pad 0, eos 1, unk 2; "stress": no charsmap, pieces that cross words, user-defined and control symbols, and <unk> at 3, where T5Tokenizer takes 2 for it), each also as the tokenizer.json
that transformers writes; strings.json, some hundred strings; ids.json, their ids by those two and by models/demo; cases.json, what
tokenizer_config.json changes, decoding, and padding="max_length" with truncation=True.

Not called tokenizers.py, which would hide the library of that name from every script in this folder.
"""

import hashlib
import io
import json
import platform
import random
import re
import shutil
import sys
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece
import tokenizers
import transformers
from transformers import T5Tokenizer

SEED = 20
ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "test" / "fixtures" / "tokenizers"
DEMO = ROOT / "models" / "demo" / "tokenizer"
transformers.logging.set_verbosity_error()

# First and last code point of the letters that words are made of.
SCRIPTS = {
    "latin": [(0x61, 0x7A)],
    "accents": [(0x61, 0x7A), (0xE0, 0xF6), (0xF8, 0x17F)],
    "greek": [(0x3B1, 0x3C9)],
    "cyrillic": [(0x430, 0x44F)],
    "hebrew": [(0x5D0, 0x5EA)],
    "arabic": [(0x627, 0x63A), (0x641, 0x64A)],
    "devanagari": [(0x905, 0x939), (0x93E, 0x94D)],
    "thai": [(0xE01, 0xE2E)],
    "kana": [(0x3042, 0x3093), (0x30A2, 0x30F3)],
    "hangul": [(0xAC00, 0xAD00)],
    "han": [(0x4E00, 0x4F00)],
}
ENGLISH = (
    "a the of on in with small large red blue green photo painting cactus happy face desert sunset robot cat dog house river castle"
    " apple background astronaut horse mountain portrait detailed cinematic light shadow oil watercolor city night rain glass gold"
    " running jumping sitting smiling ancient futuristic style trending sharp focus highly studio lighting"
).split()


def letters(script):
    return [chr(code) for first, last in SCRIPTS[script] for code in range(first, last + 1)]


def make_corpus(draw, sentences):
    """Sentences of words, some of them frequent, in every script, so that pieces of several lengths are worth their place."""
    words = {}
    for script in SCRIPTS:
        alphabet = letters(script)
        syllables = ["".join(draw.choices(alphabet, k=draw.randint(1, 3))) for _ in range(60)]
        words[script] = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(150)]
    words["latin"] += ENGLISH * 4
    lines = []
    for _ in range(sentences):
        script = draw.choices(list(SCRIPTS), weights=[30, 12, 6, 8, 4, 4, 4, 3, 5, 5, 6])[0]
        pool = words[script]
        line = [pool[min(int(draw.expovariate(1 / 40)), len(pool) - 1)] for _ in range(draw.randint(3, 12))]
        if script == "latin" and draw.random() < 0.4:
            line += draw.choices(ENGLISH, k=4)
        if draw.random() < 0.3:
            line[0] = line[0].capitalize()
        if draw.random() < 0.2:
            line.insert(draw.randrange(len(line)), str(draw.randint(0, 99999)))
        text = " ".join(line) + draw.choice(["", ".", ",", "!", "?", ";", ":", " (x)", ' "y"', "'s", "-2", "/", "%", " 😀", " 🌵"])
        lines.append(text)
    return lines


def train(lines, **options):
    """Trains a model and returns the bytes of spiece.model; one thread, so that it is the same again."""
    model = io.BytesIO()
    options = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "model_type": "unigram", "num_threads": 1, "minloglevel": 2, **options}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **options)
    return model.getvalue()


def fixed_strings():
    """Strings that each look at one thing; groups named for the reader of a failing test."""
    words = "a small cactus with a happy face in the Sahara desert"
    groups = {
        "plain": [
            words, "", " ", "   ", "\t", "\n", "\r\n", " \t\n\r ", "a", "A", "1", ".", "a red apple on a blue background", "A B C",
            "hello, world! (yes?) [no] {maybe} 50% & more; etc...", "https://example.org/x?y=1&z=2#q", "snake_case camelCase kebab-case",
            "(a:1.2), ((b)), [c:0.5], <lora:x:1>", "UPPER lower MiXeD", "3.14159 1,000,000 1e-5 0xff", "don't can't it's we're y'all",
        ],
        "spaces": [
            " leading", "trailing ", " both ", "two  spaces", "many          spaces", "tab\tbetween", "line\nbreak", "cr\r\nlf", "a\u00a0b",
            "a\u2003b", "a\u3000b", "a\u1680b", "a\u2028b\u2029c", "a\u0085b", "a\u200bb", "a\u200cb\u200db", "\ufeffbom", "a\ufeffb", "a\u205fb\u202fc",
            "a\u180eb", "a\u2060b", "a\x0bb\x0cc", "a\x1cb\x1db\x1eb\x1fb", "\u3000\u3000", "\u200b", "\u0085", "a \u200b b", "x" + " " * 50 + "y",
            "a\u00ad b\u00adc", "\t\tindent", "a \u0301b", "a\u00a0\u0301b", "a\t\u0301b",
        ],
        "metaspace": ["\u2581", "a\u2581b", "\u2581a", "a\u2581", "\u2581\u2581a\u2581\u2581b", "a \u2581 b", "\u2581 a", "under_score \u2581\u2581\u2581"],
        "control": [
            "\x00", "a\x00b", "\x00a", "a\x00", "a\x00\x00b c", "a\x01b", "\x01", "a\x7fb", "a\x08b", "a\x1bb[31m", "a\x80b\x81c", "a\u009fb", "\x02\x03\x04 x",
            "a\u0600b", "a\u06ddb", "a\ufff9b\ufffac\ufffb", "a\u061cb", "a\u202ab\u202ec", "a\u2066b\u2069c", "a\U000e0001b", "a\U000e0061b",
        ],
        "width": ["ＡＢＣ ａｂｃ １２３", "！？（）［］", "ｶﾞｷﾞｸﾞ", "ﾊﾟﾋﾟ", "ｱｲｳ", "ｶﾞ", "ｶﾞ゙", "￥￦￠", "～", "a～b", "〜", "＜／ｓ＞", "＜/s＞", "＜unk＞", "＜pad＞ x"],
        "ligatures": ["ﬁ ﬂ ﬀ ﬃ ﬄ ﬅ ﬆ", "ofﬁce ﬂower", "ĳ Ĳ ŉ ǆ Ǳ", "ﷺ", "ﷲ", "ﬓﬔ", "ﬠﬡ", "㎏ ㎡ ㏑", "㍿ ㍍", "℃ ℉ № ™ ℠", "½ ¼ ⅓ ⅞", "① ② ⑳ Ⓐ ⓩ", "x² y³ z⁴ H₂O", "ⅷ Ⅻ", "𝐀𝑩𝒞𝔇𝕰𝟘𝟙", "ª º µ", "ſ ẛ ẛ̣", "Å Å Å", "Ω Ω"],
        "quotes": ["“curly” ‘single’", "„low‟ ‚x‛", "«guillemets» ‹x›", "it’s", "``latex''", "a—b–c‐d‑e−f", "…", "a…b", "′ ″ ‴", "･ · •", "¡hola! ¿qué?", "‼ ⁇ ⁈ ⁉"],
        "combining": [
            "e\u0301", "é", "cafe\u0301 café", "n\u0303", "A\u030a", "o\u0302\u0301", "ố", "a\u0301\u0302\u0303", "\u0301", "\u0301a", " \u0301", "ａ\u0308", "Ａ\u0301b", "e\u0301\u0301",
            "q\u0307\u0323", "q\u0323\u0307", "s\u0323\u0307", "한글", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\u1100\u1161", "ㅎㅏㄴ", "ﾡ", "\u0344", "\u0958 क\u093c", "กำ", "ກຳ", "מ\u05b7ים", "שׁ שׂ", "بِسْمِ", "がぎ か\u3099き\u3099", "は\u309aハ\u309a", "a" + "\u0300" * 40 + "b", "Z" + "\u0351\u0317\u036b" * 8, "¨ ´ ¸", "\u1e9b\u0323", "x\u20dd", "1\u20e3",
        ],
        "emoji": [
            "😀", "😀😃😄", "🌵 cactus 🌵", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇩🇪🇫🇷🇯🇵", "🇩", "🇩🇪🇫", "❤️ ❤", "❤️‍🔥", "☃️☃︎", "1️⃣ #️⃣ *️⃣", "👨🏿‍🚀", "a😀b", "😀 😀", "🫠🪿", "™️ ©️", "㊙️ ㊗", "🈂️🈷️", "\ufe0f", "\u200d", "👩\u200d", "✈︎ ✈️",
        ],
        "cjk": ["一只快乐的仙人掌在撒哈拉沙漠", "你好，世界！", "東京タワーの夜景", "こんにちは世界", "안녕하세요 세계", "漢字かな交じり文", "㐀㒨", "𠀀𠮷", "豈更車", "⺀⼀", "ー・、。「」", "ゔヴ", "々〆〇", "㈱㊤", "丁丂丁丂丁丂丁丂", "中文 English 混合 text"],
        "rtl": ["שלום עולם", "مرحبا بالعالم", "السلام عليكم", "ﻻ ﻼ ﷼", "العربية ١٢٣", "فارسی ۱۲۳", "\u200fabc\u200e", "اُردُو", "ـــ", "ﺍﺏﺕ", "עִבְרִית", "abc שלום def", "ܐܒܓ", "ދިވެހި"],
        "other": ["Ελληνικά", "Привет, мир", "ЁёЙй", "नमस्ते दुनिया", "क्षत्रिय", "ไทยแลนด์", "ភាសាខ្មែរ", "தமிழ்", "বাংলা", "ქართული", "Հայերեն", "አማርኛ", "ᚠᚢᚦ", "ꙮ", "𓀀𓂀", "𝄞", "Tiếng Việt", "İstanbul ıI", "Straße ẞ", "Łódź", "ȧ̈", "ᾳ ΐ", "ǅ", "⁰¹²"],
        "replacement": ["\ufffd", "a\ufffdb", "\ufffd\ufffd", "\ufffe", "a\uffffb", "\ufdd0", "\ue000", "a\uf8ffb", "\U0010ffff", "\U000f0000x", "\u0378"],
        "added": [
            "</s>", "<pad>", "<unk>", "a </s> b", "a</s>b", "</s></s>", "x<pad>y <pad> z", "<unk>a<unk>", "<extra_id_0>", "a <extra_id_0> b <extra_id_1>c", "<extra_id_99><extra_id_98>", "<extra_id_100>", "<extra_id_0", "extra_id_0>",
            " <extra_id_5> ", "<EXTRA_ID_0>", "< extra_id_0 >", "</S>", "<s>", "<s></s>", "<</s>>", "<pad", "<pad>\u0301", "e<pad>\u0301", "\x00<pad>", "<pad>\t</s>\n", "＜extra_id_0＞", "＜ｅｘｔｒａ＿ｉｄ＿１＞", "<ｐad>", "<mask>", "[X]", "a[X]b [X] c", "<sep>", "a<sep>b <sep>", "[[X]]", "<cls> a", "a<cls>b", "[X]<sep>[X]", "\u2581<sep>", "<0x41>",
        ],
        "ties": ["a" * n for n in (2, 3, 5, 8, 13, 50)] + ["ab" * 20, "aab" * 30, "the" * 12, "0" * 30, "1212121212", "!!!!!!!!!!", "....", "-" * 60, "の" * 25, "e" * 200, "ha" * 77, "redredred", "a a a a a a a a"],
        "unknown": ["\u2603\u2604\u2605", "a\u2603b", "\u2603 \u2604", "\u2603a\u2604", "ᚠᚢ ᚦᚨ", "\u2603\u2603\u2603x\u2603\u2603"],
    }  # fmt: skip
    return [(name, text) for name, texts in groups.items() for text in texts]


def random_strings(draw, corpus):
    """Strings by chance: of any assigned character, of few alphabets mixed, of words with marks and spaces strewn in."""
    assigned = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
    blocks = [
        letters(draw.choice(list(SCRIPTS))), [chr(code) for code in range(0x20, 0x7F)], [chr(code) for code in range(0x300, 0x370)],
        [chr(code) for code in range(0xFF01, 0xFFEF)], [chr(code) for code in range(0x2000, 0x2070)], list("  \t\n\u3000\u2581\u0085"),
        [chr(code) for code in range(0x1F600, 0x1F650)] + ["\u200d", "\ufe0f", "🏽"], [chr(code) for code in range(0, 0x20)],
        [chr(code) for code in range(0x1100, 0x1200)], [chr(code) for code in range(0x3040, 0x3100)], list("</s>pad_extra_id_0<>"),
        [chr(code) for code in range(0x2100, 0x2190)], [chr(code) for code in range(0xFB00, 0xFB50)], [chr(code) for code in range(0x900, 0x980)],
    ]  # fmt: skip
    strings = []
    for _ in range(90):
        strings.append(("random-any", "".join(draw.choices(assigned, k=draw.randint(1, 30)))))
    for _ in range(110):
        pools = draw.sample(blocks, 3)
        strings.append(("random-blocks", "".join(draw.choice(draw.choice(pools)) for _ in range(draw.randint(1, 40)))))
    for _ in range(60):
        text = list(draw.choice(corpus))
        for _ in range(draw.randint(0, 6)):
            text.insert(draw.randrange(len(text) + 1), draw.choice(draw.choice(blocks)))
        strings.append(("random-words", "".join(text)))
    for _ in range(40):
        strings.append(("random-ascii", "".join(draw.choices([chr(code) for code in range(0x20, 0x7F)], k=draw.randint(1, 80)))))
    return strings


def long_strings(draw, corpus):
    """Strings of 20,000 characters, written as a part and how often it is repeated."""
    part = " ".join(draw.sample(corpus, 30))[:1000]
    return [("long", part, 20), ("long", "a", 20000), ("long", "ab c\u2603", 4000), ("long", "仙人掌e\u0301", 4000), ("long", "</s>", 5000), ("long", "👩\u200d👩 ｶﾞe\u0301🇩🇪", 1500)]


def make_strings(draw, corpus):
    """All strings: group, part, and how often the part is repeated."""
    return [(group, text, 1) for group, text in fixed_strings() + random_strings(draw, corpus)] + long_strings(draw, corpus)


def save(text_or_rows, path):
    path.write_text(text_or_rows, encoding="utf-8")


def rows(values):
    """A JSON array with one value on each line."""
    return "[\n" + ",\n".join("  " + json.dumps(value, ensure_ascii=True, separators=(",", ":")) for value in values) + "\n]"


def document(about, **parts):
    """A JSON object whose long parts stand one value to a line."""
    lines = [f'"{name}": {json.dumps(value)}' for name, value in about.items()]
    lines += [f'"{name}": {text}' for name, text in parts.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def shortened(ids):
    """Long ids as their number, both ends, and the SHA-256 of them all written with commas; others as they are."""
    if len(ids) < 2000:
        return ids
    digest = hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()
    return {"count": len(ids), "first": ids[:40], "last": ids[-40:], "sha256": digest}


def load(folder, files=None, without=()):
    """Loads T5Tokenizer from a copy of a folder with some files left out and some JSON files put in place."""
    with tempfile.TemporaryDirectory() as copy:
        for path in Path(folder).iterdir():
            if path.name not in without:
                shutil.copy(path, copy)
        for name, value in (files or {}).items():
            save(json.dumps(value), Path(copy) / name)
        return T5Tokenizer.from_pretrained(copy)


def config_variants(size):
    """What repositories put beside spiece.model, for a model of `size` pieces."""
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    sentinels = [f"<extra_id_{index}>" for index in range(100)]
    decoder = {str(index): {"content": text, **flags} for index, text in enumerate(["<pad>", "</s>", "<unk>"])}
    stripping = {str(size + 99 - index): {"content": text, **flags, "lstrip": True, "rstrip": True} for index, text in enumerate(sentinels)}
    base = {
        "additional_special_tokens": sentinels, "clean_up_tokenization_spaces": True, "eos_token": "</s>", "extra_ids": 100, "legacy": True,
        "model_max_length": 512, "pad_token": "<pad>", "sp_model_kwargs": {}, "tokenizer_class": "T5Tokenizer", "unk_token": "<unk>",
    }  # fmt: skip
    special = {"additional_special_tokens": sentinels, "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    plain = {"content": "[B]", **flags, "normalized": True, "special": False}
    return {
        "no config": {},
        "extra_ids 0": {"tokenizer_config.json": {"extra_ids": 0}},
        "extra_ids 10": {"tokenizer_config.json": {"extra_ids": 10, "model_max_length": 120}},
        "added_tokens_decoder": {"tokenizer_config.json": {**base, "added_tokens_decoder": {**decoder, **stripping}}},
        "added_tokens_decoder alone": {"tokenizer_config.json": {"added_tokens_decoder": {**decoder, **stripping}}},
        "special_tokens_map": {"tokenizer_config.json": base, "special_tokens_map.json": special},
        "special_tokens_map of objects": {
            "tokenizer_config.json": {"extra_ids": 100},
            "special_tokens_map.json": {name: {"content": text, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False} for name, text in special.items() if isinstance(text, str)},
        },
        "added_tokens": {
            "tokenizer_config.json": base,
            "special_tokens_map.json": special,
            "added_tokens.json": {text: size + 99 - index for index, text in enumerate(sentinels)},
        },
        "a new token": {"tokenizer_config.json": {**base, "added_tokens_decoder": {**decoder, **stripping, str(size + 100): {"content": "<photo>", **flags}, str(size + 101): plain}}},
        "extra_special_tokens": {"tokenizer_config.json": {"extra_ids": 2, "extra_special_tokens": ["<a>", "<b>"]}},
        "another pad": {"tokenizer_config.json": {"pad_token": "<nil>", "extra_ids": 0}},
        "another eos": {"tokenizer_config.json": {"eos_token": "<end>", "extra_ids": 3}},
        "split_special_tokens": {"tokenizer_config.json": {"split_special_tokens": True, "extra_ids": 3}},
        "extra_ids unlike the list": {"tokenizer_config.json": {**base, "extra_ids": 50}},
    }


def describe_variant(model, name, files, without):
    tokenizer = load(OUT / model, files, without=without)
    texts = [
        "", "a red apple", "a <extra_id_0> b <extra_id_1>c </s> <pad>x<unk>", "<extra_id_0><extra_id_99> <extra_id_100>", "a<photo>b [B] c", " <extra_id_2> \u0301",
        "<a>x<b> <end> <nil>", "<extra_id_49><extra_id_50>", "＜extra_id_0＞ ＜/s＞", "［Ｂ］ [B]", "<s> <mask>", "[X] <sep> <cls>",
        "a cat , is n't it ? yes ! it 's . we 've ' x ' i 'm they 're",
    ]  # fmt: skip
    added = [
        [index, token.content, token.lstrip, token.rstrip, token.normalized, token.single_word, token.special]
        for index, token in sorted(tokenizer.added_tokens_decoder.items())
        if not re.fullmatch(r"<extra_id_([1-3]\d|[6-8]\d)>", token.content)
    ]
    limit = tokenizer.model_max_length
    return {
        "model": model, "name": name, "files": files, "pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id, "limit": limit if limit < 1e29 else None, "length": len(tokenizer),
        "added": added, "texts": texts, "ids": [tokenizer(text).input_ids for text in texts],
        "decoded": [tokenizer.decode(tokenizer(text).input_ids) for text in texts],
    }  # fmt: skip


def main():
    draw = random.Random(SEED)
    corpus = make_corpus(draw, 9000)
    OUT.mkdir(parents=True, exist_ok=True)
    models = {
        "multilingual": train(corpus, vocab_size=2600, character_coverage=0.999, normalization_rule_name="nmt_nfkc"),
        "stress": train(
            corpus[:3000], vocab_size=700, character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
            split_by_whitespace=False, bos_id=2, unk_id=3, user_defined_symbols=["<sep>", "[X]"], control_symbols=["<cls>"],
        ),
    }  # fmt: skip
    about = {
        "script": "reference/tokenizer_ids.py", "seed": SEED,
        "versions": {"python": platform.python_version(), "transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__, "unicodedata": unicodedata.unidata_version},
    }  # fmt: skip

    folders = {"demo": DEMO}
    for name, model in models.items():
        folder = folders[name] = OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "spiece.model").write_bytes(model)
        with tempfile.TemporaryDirectory() as saved:
            T5Tokenizer.from_pretrained(folder).save_pretrained(saved)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(Path(saved) / file, folder / file)

    strings = make_strings(draw, corpus)
    save(document(about, strings=rows([[group, text, times] for group, text, times in strings])), OUT / "strings.json")

    texts = [text * times for _, text, times in strings]
    ids, sections, decoded = {}, {}, {}
    for name, folder in folders.items():
        from_json = load(folder)
        from_model = load(folder, without=("tokenizer.json",))
        ids[name] = [from_model(text).input_ids for text in texts]
        again = [from_json(text).input_ids for text in texts]
        different = {str(index): b for index, (a, b) in enumerate(zip(ids[name], again)) if a != b}
        sections[name] = "{" + f'"fromModel": {rows(map(shortened, ids[name]))},\n"fromJson": {json.dumps(different)}' + "}"
        print(f"{name}: {len(texts)} strings, {len(different)} of them with other ids from tokenizer.json, {len(from_model)} tokens")

        size = len(from_model)
        sequences = [ids[name][index] for index in range(0, len(texts) - 6, 7)] + [[draw.randrange(size) for _ in range(12)] for _ in range(40)]
        sequences += [[0], [1], [2, 2], [3, 3, 3], [size + 5, 4], [5, size + 7, 6], [draw.randrange(size)], [1, 0, 4, 1]]
        decoded[name] = [[row, from_model.decode(row), from_model.decode(row, skip_special_tokens=True)] for row in sequences]
    save(document(about, **sections), OUT / "ids.json")

    variants, json_variants = [], []
    for model, proto in models.items():
        size = len(sentencepiece.SentencePieceProcessor(model_proto=proto))
        for name, files in config_variants(size).items():
            variants.append(describe_variant(model, name, files, ("tokenizer.json", "tokenizer_config.json")))
            variant = describe_variant(model, name, files, ("spiece.model", "tokenizer_config.json"))
            json_variants.append({"model": model, "name": name, "same": True} if variant == variants[-1] else variant)

    padding = []
    tokenizer = load(DEMO)
    for text in ("", "a", "a red apple on a blue background", "a red apple </s>", "</s></s></s></s>", "cat " * 60):
        for length in (1, 2, 3, 8, 20):
            result = tokenizer(text, padding="max_length", max_length=length, truncation=True)
            whole = tokenizer(text).input_ids
            kept = min(len(whole), length)
            padding.append({"ids": whole, "length": length, "inputIds": result.input_ids, "attentionMask": result.attention_mask, "cut": whole[kept - 1 : -1]})
    sections = {"variants": rows(variants), "jsonVariants": rows(json_variants), "decoded": json.dumps(decoded), "padding": rows(padding)}
    save(document(about, **sections), OUT / "cases.json")
    print(f"{sum(path.stat().st_size for path in OUT.rglob('*') if path.is_file())} bytes in {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
