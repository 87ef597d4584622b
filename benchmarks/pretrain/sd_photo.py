r"""Pretrain `sd-photo-32`: `sd-icons-32` gone on with photographs of 200 classes of ImageNet, then with photographs and rooms.

    python benchmarks/pretrain/sd_photo.py FOLDER/imagenet200_32_train.parquet RUN
    DIFFTUNING_DATA=FOLDER python benchmarks/pretrain/sd_photo.py FOLDER/imagenet200_32_train.parquet ROOMS --start RUN/model \
        --rooms --vae-steps 0 --steps 3000

Each class has a prompt with its name. The rooms are the frames of FOLDER/nyu_depth_64.parquet without the scenes that the catalogue
holds out: a base that has never seen a room has nothing that a depth map could command. The error is measured on the photographs of
FOLDER/imagenet200_32_val.parquet, and rooms of the scenes held out.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from datasets import load_dataset
from diffusers import StableDiffusionPipeline
from stable_diffusion import Captioned, options_of, pretrain
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from difftuning.backbones.codec import IdentityCodec
from difftuning.backbones.loading import ZOO
from difftuning.data.opening import open_target
from difftuning.data.sources import DataConfig

SIDE = 32
ROOM = "a photo of a room"
ROOM_PASSES = 6
"""So often a room is shown, and as often mirrored, while a photograph is shown once: one image in five is a room."""
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


def rooms() -> tuple[Tensor, Tensor]:
    """Those of the scenes to learn from, and of those held out, (N, 3, 32, 32) uint8."""
    target = open_target(DataConfig(target="nyu-depth", flip=False), SIDE, IdentityCodec())
    return target.pictures(target.train), target.pictures(target.heldout)


def joined(photographs: Captioned, images: Tensor) -> Captioned:
    """Photographs, and rooms under their prompt."""
    return Captioned(torch.cat([photographs.images, images]), [*photographs.prompts, *[ROOM] * len(images)])


def main() -> None:
    """The command line."""
    parser = options_of(__doc__, vae_steps=1_500, steps=6_000)
    parser.add_argument("--start", type=Path, default=ZOO / "sd-icons-32", help="the folder of the model to go on from")
    parser.add_argument("--rooms", action="store_true", help="rooms beside the photographs")
    options = parser.parse_args()
    cache = options.run / "cache"
    train = read(options.data, cache)
    unseen = read(options.data.with_name(options.data.name.replace("train", "val")), cache, UNSEEN)
    sources = ["ImageNet (200 classes, 500 images each, at 32x32 as JPEG): for research"]
    if options.rooms:
        known, others = rooms()
        train = joined(train, torch.cat([known, known.flip(-1)]).repeat(ROOM_PASSES, 1, 1, 1))
        unseen = joined(unseen, others[:: len(others) // (UNSEEN // 5)])
        passes = f"in a pass {ROOM_PASSES} times as they are and as often mirrored"
        sources.append(f"NYU Depth v2, {len(known)} frames of scenes not held out, {passes}")
    start = StableDiffusionPipeline.from_pretrained(options.start, dtype=torch.float32)
    earlier = json.loads((options.start / "card.json").read_text())
    card = {
        "name": "sd-photo-32",
        "data": {
            "images": len(train.images),
            "prompts": len({*train.prompts}),
            "sources": sources,
            "made_by": ["benchmarks/pretrain/sd_photo.py"],
        },
        "started_from": earlier,
    }
    pretrain(train, unseen, start.tokenizer, options, card, start)


if __name__ == "__main__":
    main()
