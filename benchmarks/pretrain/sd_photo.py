"""Pretrain `sd-photo-32`, `sd-icons-32` gone on with photographs: 200 classes of ImageNet, each under a prompt with its name.

    python benchmarks/pretrain/sd_photo.py FOLDER/imagenet200_32_train.parquet RUN

The photographs of FOLDER/imagenet200_32_val.parquet are what its error is measured on.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from datasets import load_dataset
from diffusers import StableDiffusionPipeline
from stable_diffusion import Captioned, options_of, pretrain
from torchvision.transforms.functional import pil_to_tensor

from difftuning.backbones.loading import ZOO

START = "sd-icons-32"
PROMPT = "a photo of a {}"
UNSEEN = 1_000
"""So many photographs, spread over the file, are measured on."""


def read(path: Path, cache: Path, most: int | None = None) -> Captioned:
    """The photographs of a file, or so many of them, under the names of their classes without the number before them."""
    rows = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(cache))
    if most is not None:
        rows = rows.select(range(0, len(rows), len(rows) // most))
    names = [PROMPT.format(name.split(" ", 1)[1].lower()) for name in rows.features["label"].names]
    images = torch.stack([pil_to_tensor(row["image"].convert("RGB")) for row in rows])
    return Captioned(images, [names[label] for label in rows["label"]])


def main() -> None:
    """The command line."""
    options = options_of(__doc__, vae_steps=1_500, steps=6_000).parse_args()
    cache = options.run / "cache"
    train = read(options.data, cache)
    unseen = read(options.data.with_name(options.data.name.replace("train", "val")), cache, UNSEEN)
    start = StableDiffusionPipeline.from_pretrained(ZOO / START, dtype=torch.float32)
    earlier = json.loads((ZOO / START / "card.json").read_text())
    card = {
        "name": "sd-photo-32",
        "data": {
            "images": len(train.images),
            "prompts": len({*train.prompts}),
            "sources": ["ImageNet (200 classes, 500 images each, at 32x32 as JPEG): for research"],
            "made_by": ["benchmarks/pretrain/sd_photo.py"],
        },
        "started_from": earlier,
    }
    pretrain(train, unseen, start.tokenizer, options, card, start)


if __name__ == "__main__":
    main()
