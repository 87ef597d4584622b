"""Pretrain `dit-icons-32` from the parquet files of icons.py, and `flow-icons-32` and `edm-icons-32` from it.

    python benchmarks/pretrain/icons.py data/icons.parquet
    python benchmarks/pretrain/icon_model.py data/icons.parquet COARSE --steps 4800
    python benchmarks/pretrain/icon_model.py data/icons.parquet RUN --start COARSE/model --steps 8000
    python benchmarks/pretrain/other_process.py dit-icons-32 FLOW --process flow
    python benchmarks/pretrain/icon_model.py data/icons.parquet RUN --start FLOW --name flow-icons-32 --steps 3000 --lr 5e-4

The first run learns the 64 Unicode subcategories from scratch. The second goes on from its model with one class an emoji, each
drawn by both vendors: its row starts as the null row plus the principal components of its drawings, so that what a row means is
shared by all emoji and not learned for each of them from its two pictures. The third keeps the classes that it starts with; so does
EDM's, with `--process edm --images data/icons-train.parquet`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from datasets import load_dataset
from new_dit import new_dit
from pretraining import Images, options_of, pretrain
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from difftuning.backbones.base import Backbone
from difftuning.backbones.labels import Replace
from difftuning.backbones.loading import load

CODE_SCALE = 0.3
"""Standard deviation of an emoji's code; the embedding of the time has about 0.8."""
SOURCES = {
    "Noto Emoji, npm emoji-datasource-google 16.0.0": "Apache-2.0",
    "Twemoji, npm emoji-datasource-twitter 16.0.0": "CC BY 4.0",
}


def read(path: Path) -> tuple[Tensor, Tensor, list[str]]:
    """(N, 3, H, W) uint8, the subcategories (N,) int64 and the names of the emoji, of a parquet file."""
    rows = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))
    return (
        torch.stack([pil_to_tensor(row["image"]) for row in rows]),
        torch.tensor(rows["label"]),
        list(rows["caption"]),
    )


def name_every_emoji(model: Backbone, captions: list[str], images: Tensor) -> Tensor:
    """Give the model one class an emoji, each row the null row plus its code; returns (N,) int64, the row of each image.

    The code of an emoji is the mean of its drawings in as many principal components as the table is wide, whitened.
    """
    names = tuple(dict.fromkeys(captions))
    labels = torch.tensor([names.index(caption) for caption in captions])
    model.change_labels(Replace(), names)
    member = torch.nn.functional.one_hot(labels).T.float()
    mean = member @ images.flatten(1).float() / member.sum(1, keepdim=True)
    table = next(value for name, value in model.network.named_parameters() if name.endswith("embedding_table.weight"))
    u, _, _ = torch.linalg.svd(mean - mean.mean(0), full_matrices=False)
    with torch.no_grad():
        table[: len(names)] += CODE_SCALE * len(names) ** 0.5 * u[:, : table.shape[1]]
    return labels


def main() -> None:
    """The command line."""
    parser = options_of(__doc__, steps=9000, batch_size=64, width=192)
    parser.add_argument("--start", type=Path, default=None, help="the model of a first run, to name every emoji")
    parser.add_argument("--name", default="dit-icons-32", help="of the model in its card")
    options = parser.parse_args()
    stem = options.data.stem
    train, labels, captions = read(options.data.with_stem(f"{stem}-train"))
    heldout, heldout_labels, _ = read(options.data.with_stem(f"{stem}-heldout"))
    earlier = None
    if options.start is None:
        names = tuple(json.loads(options.data.with_suffix(".classes.json").read_text()))
        model: Backbone = new_dit(names, train.shape[-1], 4, options.width, options.depth, options.seed)
    else:
        model = load(str(options.start))
        earlier = json.loads((options.start / "card.json").read_text())
        if set(captions) <= set(model.labels.names):
            labels = model.rows(captions)
        else:
            labels = name_every_emoji(model, captions, train)
        # No row is theirs: emoji that were held out are asked for without a class.
        heldout_labels = torch.full((len(heldout),), model.labels.null)
    card = {
        "name": options.name,
        "data": {
            "images": len(train),
            "classes": len(model.labels),
            "sources": SOURCES,
            "made_by": ["benchmarks/pretrain/icons.py", "benchmarks/pretrain/icon_model.py"],
        },
        "started_from": earlier,
    }
    pretrain(model, Images(train, labels), Images(heldout, heldout_labels), earlier is None, options, card)


if __name__ == "__main__":
    main()
