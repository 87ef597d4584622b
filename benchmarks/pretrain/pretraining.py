"""Pretrain a source model with the library's own loop: resumable, run it again to go on.

Writes RUN/checkpoints, RUN/metrics.jsonl and, at the end, RUN/model (the averaged weights in fp16, with a card).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from epochs import Epochs
from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.json_files import MetricsLog, write_json
from difftuning.noise.clock import Clock
from difftuning.objectives.denoising import denoise, denoising_error
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.training.checkpoints import Checkpoints
from difftuning.training.config import TrainingConfig
from difftuning.training.ema import EMAConfig
from difftuning.training.hooks import Hook
from difftuning.training.optim import OptimConfig
from difftuning.training.trainer import Trainer

WARMUP_STEPS = 200
SAVE_EVERY = 250
HALFLIFE_IMAGES = 40_000
"""Of the average of the weights."""


@dataclass(frozen=True)
class Images:
    """Images to learn from, (N, 3, H, W) uint8, and the class of each, (N,) int64."""

    images: Tensor
    labels: Tensor

    @property
    def pixels(self) -> Tensor:
        """(N, 3, H, W) float32 in [-1, 1]."""
        return self.images.float() / 127.5 - 1


@dataclass(frozen=True)
class Law:
    """The clock of a model and its null label."""

    clock: Clock
    null: int


def options_of(description: str | None, steps: int, batch_size: int, width: int) -> argparse.ArgumentParser:
    """The options that all source models have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--dropout", type=float, default=0.1, help="the share of labels that become the null label")
    parser.add_argument("--width", type=int, default=width)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def pretrain(
    model: Backbone, train: Images, heldout: Images, flip: bool, options: argparse.Namespace, card: Mapping[str, Any]
) -> None:
    """Train to the end, and write the model with its card, which gets settings and the training log added."""
    law = Law(model.clock, model.labels.null)
    fixed = Epochs(heldout.pixels, heldout.labels, law, len(heldout.images), 0.0, False, 1).batch(0, (0, 0))

    def heldout_error(step: int) -> dict[str, float]:
        _, y = denoise(model, model.process, fixed)
        return {"heldout": float(denoising_error(y, model.process, model.prediction, fixed).mean())}

    log = MetricsLog(options.run / "metrics.jsonl")
    trainer = Trainer(
        network=model.network,
        parameters=dict(model.network.named_parameters()),
        objective=DiffTuning(model, model.process, model.prediction),
        streams=Epochs(train.pixels, train.labels, law, options.batch_size, options.dropout, flip, options.seed),
        checkpoints=Checkpoints(options.run / "checkpoints"),
        log=log,
        config=TrainingConfig(
            steps=options.steps, batch_size=options.batch_size, precision="auto", save_every=SAVE_EVERY
        ),
        optim=OptimConfig(lr=options.lr, schedule="cosine", warmup_steps=WARMUP_STEPS),
        ema_config=EMAConfig(kind="halflife", halflife_images=HALFLIFE_IMAGES, rampup=0.1),
        seed=options.seed,
        identity={"recipe_digest": " ".join(f"{key}={value}" for key, value in sorted(vars(options).items()))},
        hooks=[Hook(SAVE_EVERY, heldout_error)],
        watch="none",
    )
    trainer.run()
    with trainer.ema.swapped():
        model.save(options.run / "model", dtype=torch.float16)
    records = log.read().records
    training = {
        "parameters": sum(value.numel() for value in trainer.parameters.values()),
        "steps": options.steps,
        "batch_size": options.batch_size,
        "lr": options.lr,
        "label_dropout": options.dropout,
        "flips": flip,
        "seed": options.seed,
        "precision": trainer.config.precision,
    }
    curves = {
        name: [[record["step"], round(record[name], 5)] for record in records if name in record]
        for name in ("loss", "heldout")
    }
    write_json(options.run / "model" / "card.json", {**card, "training": training, "log": curves})
