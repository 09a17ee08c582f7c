"""Trains the sentencepiece tokenizer on all captions, and saves it as transformers does: tokenizer.json, with spiece.model beside it.

Every printable character of ASCII and some more are required pieces, so that any prompt can be spelled. About 10 seconds.

usage: python train/tokenizer.py
"""

import random
import shutil

import sentencepiece
from transformers import T5Tokenizer

import dataset
from state import FOLDER, prepare

PIECES = 266
CHARACTERS = "".join(chr(code) for code in range(33, 127)) + "äöüßéèêçñáíóúàâîôû–“”’"
TARGET = FOLDER / "tokenizer"


def sentences(seed=3):
    chosen = random.Random(seed)
    lines = []
    for scene in dataset.training_scenes(seed, shifts=1, pairs=3000):
        lines += chosen.sample(dataset.captions(scene), 2)
    return lines


def main():
    prepare(1, 3)
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    corpus = FOLDER / "captions.txt"
    corpus.write_text("\n".join(sentences()) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(TARGET / "spiece"),
        vocab_size=PIECES,
        model_type="unigram",
        character_coverage=1.0,
        required_chars=CHARACTERS,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        input_sentence_size=0,
        minloglevel=1,
    )
    (TARGET / "spiece.vocab").unlink()
    tokenizer = T5Tokenizer.from_pretrained(TARGET, extra_ids=0, model_max_length=300)
    tokenizer.save_pretrained(TARGET)
    for text in ("a cat and a dog on a sky blue background", "a small bicycle, zebra?"):
        print(tokenizer.tokenize(text))


if __name__ == "__main__":
    main()
