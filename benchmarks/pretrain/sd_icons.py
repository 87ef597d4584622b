"""Pretrain `sd-icons-32`: a Stable Diffusion pipeline in miniature, from captioned Noto and Twemoji, all of it trained here.

    python benchmarks/pretrain/icons.py data/icons.parquet
    python benchmarks/pretrain/sd_icons.py data/icons.parquet RUN

How it is trained and what is written: stable_diffusion.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from icon_model import SOURCES, read
from stable_diffusion import LENGTH, Captioned, options_of, pretrain
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

WORDS = 1_200
"""Pieces of the vocabulary."""


def tokenizer_of(captions: list[str], folder: Path) -> CLIPTokenizer:
    """CLIP's kind of byte-pair encoding, learned from the captions."""
    made = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, initial_alphabet=alphabet, end_of_word_suffix="</w>")
    made.train_from_iterator([caption.lower() for caption in captions], trainer)
    learned = json.loads(made.to_str())["model"]
    # Every letter alone and at the end of a word, then what was learned, then CLIP's own two.
    pieces = [
        *alphabet,
        *(f"{letter}</w>" for letter in alphabet),
        *learned["vocab"],
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in learned["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=LENGTH)


def main() -> None:
    """The command line."""
    options = options_of(__doc__, vae_steps=2_500, steps=10_000).parse_args()
    stem = options.data.stem
    train, unseen = (
        Captioned(images, [caption.lower() for caption in captions])
        for images, _, captions in (read(options.data.with_stem(f"{stem}-{part}")) for part in ("train", "heldout"))
    )
    card = {
        "name": "sd-icons-32",
        "data": {
            "images": len(train.images),
            "prompts": len({*train.prompts}),
            "sources": SOURCES,
            "made_by": ["benchmarks/pretrain/icons.py", "benchmarks/pretrain/sd_icons.py"],
        },
    }
    pretrain(train, unseen, tokenizer_of(train.prompts, options.run / "vocabulary"), options, card)


if __name__ == "__main__":
    main()
