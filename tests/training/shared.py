"""What the tests of several processes run in each of them, and in one: a bank, and training on it.

python tests/training/shared.py FOLDER UNTIL [KEY=VALUE]...
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from difftuning.backbones.solvers import make_scheduler
from difftuning.bank.card import BankConfig
from difftuning.bank.generate import build
from difftuning.bank.mix import TwoStreams
from difftuning.bank.read import Bank
from difftuning.coefficients.chain import ChainOfForgetting
from difftuning.coefficients.families import Power
from difftuning.coefficients.realisation import Source
from difftuning.data.latents import LatentSet
from difftuning.data.order import Order
from difftuning.diagnosis.denoising_curve import denoising_curve
from difftuning.json_files import MetricsLog
from difftuning.objectives.diff_tuning import DiffTuning
from difftuning.processes import part, present
from difftuning.training.checkpoints import Checkpoints
from difftuning.training.config import TrainingConfig
from difftuning.training.ema import EMAConfig
from difftuning.training.hooks import Hook
from difftuning.training.optim import OptimConfig
from difftuning.training.preemption import stop_request
from difftuning.training.streams import DrawnStreams
from difftuning.training.trackers import Unwritten
from difftuning.training.trainer import Trainer
from difftuning.types import Condition
from tiny import tiny_dit

STEPS, BATCH, ITEMS = 12, 7, 20


def latents() -> LatentSet:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(ITEMS, 3, 8, 8, generator=generator)
    labels, indices = torch.arange(ITEMS) % 4, torch.arange(ITEMS)
    return LatentSet(values, None, labels, ("a", "b", "c", "d"), indices, tuple(map(str, range(ITEMS))))


def streams(target: LatentSet, bank: Any, **changes: Any) -> DrawnStreams:
    two = TwoStreams(
        target=target,
        target_order=Order(1, len(target)),
        rows=torch.arange(4),
        null_label=4,
        label_dropout=0.2,
        flip=False,
        bank=bank,
        bank_order=Order(2, len(bank)),
        retention_labels=0.3,
    )
    chain = changes.pop("chain", ChainOfForgetting.from_psi(Power(1.0)))
    return DrawnStreams(chain, tiny_dit().clock, Source(), two, BATCH, 0, **changes)


def trainer_of(folder: Path, **changes: Any) -> Trainer:
    """A run in a folder; the batch does not divide by two, and the bank's shards are not whole batches."""
    model = tiny_dit(seed=1)
    config = BankConfig(count=18, steps=2, batch_size=4, shard_size=6)
    build(tiny_dit(), make_scheduler, folder / "bank", config, clip=1.0)
    target = latents()

    def heldout(step: int) -> dict[str, float]:
        condition = Condition(target.labels)
        curve = denoising_curve(
            model, model.process, model.prediction, model.clock, target.latents, condition, 4, 6, batch_size=4
        )
        return {"heldout": curve.mean}

    settings: dict[str, Any] = {"steps": STEPS, "batch_size": BATCH, "save_every": 5, "log_every": 1, **changes}
    return Trainer(
        network=model.network,
        parameters=dict(model.network.named_parameters()),
        objective=DiffTuning(model, model.process, model.prediction),
        streams=streams(target, Bank(folder / "bank"), processes=present()),
        checkpoints=Checkpoints(folder / "checkpoints", keep=9),
        log=MetricsLog(folder / "metrics.jsonl") if present().main else Unwritten(),
        config=TrainingConfig(**settings),
        optim=OptimConfig(clip_norm=0.05),
        ema_config=EMAConfig(decay=0.9),
        hooks=[Hook(3, heldout, at_start=True)],
    )


def main() -> None:
    torch.set_num_threads(1)
    folder, until = Path(sys.argv[1]), int(sys.argv[2])
    trainer = trainer_of(folder, **{key: int(value) for key, value in (word.split("=") for word in sys.argv[3:])})
    with stop_request() as trainer.stop:
        trainer.run(until)
    if trainer.state.step % trainer.config.save_every:
        trainer.save()
    names = sorted({type(value.data).__name__ for value in trainer.parameters.values()})
    print(present().rank, trainer.state.step, *names)
    part()


if __name__ == "__main__":
    main()
