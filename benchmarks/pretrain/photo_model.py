"""Pretrain `dit-photo-16` or `dit-photo-32`, the source models of the studies, on 200 classes of ImageNet.

    python benchmarks/pretrain/photo_model.py DATA RUN --size 16
    python benchmarks/pretrain/photo_model.py DATA RUN --size 32 --width 192 --batch-size 64

DATA holds imagenet200_32_train.parquet and imagenet200_32_val.parquet (32x32 JPEG). JPEG marks are visible in them, and so in
what the models draw: their distances mean something only against the same copies.
"""

from __future__ import annotations

from pathlib import Path

import torch
from new_dit import new_dit
from pretraining import Images, options_of, pretrain

from difftuning.data.sources import DataConfig, open_source
from difftuning.data.transforms import Transform

HELD_OUT = 2_000
"""Images of the validation file that the error is measured on during training."""


def read(path: Path, size: int, count: int | None = None) -> tuple[Images, tuple[str, ...]]:
    """The images of a parquet file at a size, spread over it where fewer are wanted, and the names of its classes."""
    source = open_source(DataConfig(target=str(path)))
    transform = Transform(size)
    chosen = torch.linspace(0, len(source) - 1, count or len(source)).long().tolist()
    images = torch.stack([transform.pixels(source.read(index)) for index in chosen])
    return Images(images, torch.tensor([source.label(index) for index in chosen])), source.class_names


def main() -> None:
    """The command line."""
    parser = options_of(__doc__, steps=20_000, batch_size=128, width=128)
    parser.add_argument("--size", type=int, choices=(16, 32), default=16)
    options = parser.parse_args()
    train, names = read(options.data / "imagenet200_32_train.parquet", options.size)
    heldout, _ = read(options.data / "imagenet200_32_val.parquet", options.size, HELD_OUT)
    model = new_dit(names, options.size, 4, options.width, options.depth, options.seed)
    card = {
        "name": f"dit-photo-{options.size}",
        "data": {
            "images": len(train.images),
            "classes": len(names),
            "sources": {"ImageNet (200 classes, 500 images each, at 32x32)": "for research"},
            "made_by": ["benchmarks/pretrain/photo_model.py"],
        },
    }
    pretrain(model, train, heldout, True, options, card)


if __name__ == "__main__":
    main()
