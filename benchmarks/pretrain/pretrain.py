"""Pretrain a zoo model from its parquet files with the library's own loop: resumable, run it again to go on.

    python benchmarks/pretrain/icons.py data/icons.parquet
    python benchmarks/pretrain/pretrain.py data/icons.parquet COARSE --steps 4800
    python benchmarks/pretrain/pretrain.py data/icons.parquet RUN --start COARSE/model --steps 8000

The first run learns the 64 Unicode subcategories from scratch. The second goes on from its model with one class an emoji, each
drawn by both vendors: its row starts as the null row plus the principal components of its drawings, so that what a row means is
shared by all emoji and not learned for each of them from its two pictures.
Writes RUN/checkpoints, RUN/metrics.jsonl and, at the end, RUN/model (the averaged weights, fp16).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from new_dit import new_dit
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from difftuning.backbones.labels import Replace
from difftuning.backbones.loading import load
from difftuning.objectives.denoising import denoise, denoising_error
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.results import MetricsLog, write_json
from difftuning.training.checkpoints import Checkpoints
from difftuning.training.ema import EMAConfig
from difftuning.training.hooks import Hook
from difftuning.training.optim import OptimConfig
from difftuning.training.trainer import Trainer, TrainingConfig
from difftuning.types import Batch, Condition, Draw

WARMUP_STEPS = 200
CODE_SCALE = 0.3
"""Standard deviation of an emoji's code; the embedding of the time has about 0.8."""


def read(path: Path) -> tuple[Tensor, Tensor, list[str]]:
    """(N, 3, H, W) uint8, the subcategories (N,) int64 and the names of the emoji, of a parquet file."""
    rows = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))
    return (
        torch.stack([pil_to_tensor(row["image"]) for row in rows]),
        torch.tensor(rows["label"]),
        list(rows["caption"]),
    )


def name_every_emoji(model: Any, captions: list[str], images: Tensor) -> Tensor:
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


class Epochs:
    """The images in a new order each epoch; times by the uniform law, one per stratum of u.

    Args:
        images: (N, 3, H, W) uint8.
        labels: (N,) int64.
        model: whose clock and null label are used.
        batch_size: images a step.
        dropout: the share of labels that become the null label.
        flip: mirror half of the images.
        seed: of everything.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, model: Any, batch_size: int, dropout: float, flip: bool, seed: int
    ) -> None:
        self.images, self.labels, self.model, self.seed = images, labels, model, seed
        self.batch_size, self.dropout, self.flip = batch_size, dropout, flip

    def batch(self, step: int, positions: tuple[int, int]) -> Batch:
        """A pure function of (seed, step)."""
        size = self.batch_size
        places = torch.arange(step * size, (step + 1) * size)
        epochs = places // len(self.images)
        orders = {int(epoch): self._order(int(epoch)) for epoch in epochs.unique()}
        rows = torch.stack(
            [orders[int(epoch)][int(place) % len(self.images)] for epoch, place in zip(epochs, places, strict=True)]
        )
        generator = torch.Generator().manual_seed(self.seed * 7_919 + step)
        x0 = self.images[rows].float() / 127.5 - 1
        flip = (torch.rand(size, generator=generator) < 0.5) & self.flip
        x0 = torch.where(flip[:, None, None, None], x0.flip(-1), x0)
        dropped = torch.rand(size, generator=generator) < self.dropout
        labels = torch.where(dropped, self.model.labels.null, self.labels[rows])
        u = (torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)) / size
        t = self.model.clock.t(u)
        draw = Draw(t, self.model.clock.u(t), torch.zeros(size, dtype=torch.bool), torch.ones(size))
        return Batch(x0, torch.randn(x0.shape, generator=generator), Condition(labels), draw)

    def _order(self, epoch: int) -> Tensor:
        return torch.randperm(len(self.images), generator=torch.Generator().manual_seed(self.seed * 104_729 + epoch))


def card(options: argparse.Namespace, names: tuple[str, ...], images: int, parameters: int) -> dict[str, Any]:
    """What a zoo model was made from, with its whole training log."""
    records = MetricsLog(options.run / "metrics.jsonl").read().records
    earlier = options.start / "card.json" if options.start is not None else None
    return {
        "name": "dit-icons-32",
        "data": {
            "images": images,
            "classes": len(names),
            "sources": {
                "Noto Emoji, npm emoji-datasource-google 16.0.0": "Apache-2.0",
                "Twemoji, npm emoji-datasource-twitter 16.0.0": "CC BY 4.0",
            },
            "made_by": "benchmarks/pretrain/icons.py",
        },
        "training": {
            "made_by": "benchmarks/pretrain/pretrain.py",
            "parameters": parameters,
            "steps": options.steps,
            "batch_size": options.batch_size,
            "lr": options.lr,
            "label_dropout": options.dropout,
            "flips": options.start is None,
            "seed": options.seed,
            "precision": "bf16",
        },
        "log": {
            name: [[record["step"], round(record[name], 5)] for record in records if name in record]
            for name in ("loss", "heldout")
        },
        "started_from": None if earlier is None else json.loads(earlier.read_text()),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the parquet stem that icons.py was given")
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--start", type=Path, default=None, help="the model of a first run, to name every emoji")
    parser.add_argument("--dropout", type=float, default=0.1, help="the share of labels that become the null label")
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.run.mkdir(parents=True, exist_ok=True)
    stem = options.data.stem
    train, labels, captions = read(options.data.with_stem(f"{stem}-train"))
    heldout, heldout_labels, _ = read(options.data.with_stem(f"{stem}-heldout"))
    if options.start is None:
        names = tuple(json.loads(options.data.with_suffix(".classes.json").read_text()))
        model = new_dit(names, train.shape[-1], 4, options.width, options.depth, options.seed)
    else:
        model = load(str(options.start))
        labels = name_every_emoji(model, captions, train)
        # No row is theirs: emoji that were held out are asked for without a class.
        heldout_labels = torch.full((len(heldout),), model.labels.null)
    fixed = Epochs(heldout, heldout_labels, model, len(heldout), 0.0, False, 1).batch(0, (0, 0))

    def heldout_error(step: int) -> dict[str, float]:
        with torch.autocast("cpu", torch.bfloat16):
            _, y = denoise(model, model.process, fixed)
        return {"heldout": float(denoising_error(y, model.process, model.prediction, fixed).mean())}

    trainer = Trainer(
        network=model.network,
        parameters=dict(model.network.named_parameters()),
        objective=DiffTuning(model, model.process, model.prediction),
        streams=Epochs(
            train, labels, model, options.batch_size, options.dropout, flip=options.start is None, seed=options.seed
        ),
        checkpoints=Checkpoints(options.run / "checkpoints"),
        log=MetricsLog(options.run / "metrics.jsonl"),
        config=TrainingConfig(steps=options.steps, batch_size=options.batch_size, precision="bf16", save_every=250),
        optim=OptimConfig(lr=options.lr, schedule="cosine", warmup_steps=WARMUP_STEPS),
        ema_config=EMAConfig(kind="halflife", halflife_images=40_000, rampup=0.1),
        seed=options.seed,
        identity={"recipe_digest": " ".join(f"{key}={value}" for key, value in sorted(vars(options).items()))},
        hooks=[Hook(250, heldout_error)],
        watch="none",
    )
    trainer.run()
    with trainer.ema.swapped():
        model.save(options.run / "model", dtype=torch.float16)
    parameters = sum(value.numel() for value in trainer.parameters.values())
    write_json(options.run / "model" / "card.json", card(options, model.labels.names, len(train), parameters))


if __name__ == "__main__":
    main()
